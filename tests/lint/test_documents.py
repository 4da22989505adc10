"""Docs agree with the code: settings, commands, errors, links."""

import json
import re
import tomllib
from dataclasses import fields
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click import Command, Group
from click.testing import CliRunner

import image_poster.domain.errors  # noqa: F401 - its errors are listed too
from image_poster.cli.main import cli
from image_poster.cli.options import variable
from image_poster.domain.errors import ERRORS
from image_poster.domain.events import PING, EventType
from image_poster.editions.local.settings import Settings
from image_poster.http.app import openapi_document
from lambda_zips.contents import PACKAGES
from lambda_zips.lock import normalized, read_lock

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def read(path: str) -> str:
    return (ROOT / path).read_text()


@pytest.mark.parametrize("setting", [field.name for field in fields(Settings)])
def test_every_setting_is_documented_and_is_a_flag(setting: str) -> None:
    assert f"`{variable(setting)}`" in read("docs/settings.md")
    assert f"--{setting.replace('_', '-')}" in CliRunner().invoke(cli, ["serve", "--help"]).output


@pytest.mark.parametrize("command", cli.commands)
def test_every_command_is_documented(command: str) -> None:
    assert f"image-poster {command}" in read("docs/cli.md")


@pytest.mark.parametrize(
    "page",
    ["cli", "operations", "data-folder", "behaviour", "moderation", "rules", "webhooks"],
)
def test_options_that_the_docs_name_exist(page: str) -> None:
    options = {flag for command in cli.commands.values() for flag in all_flags(command)}
    names = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", read(f"docs/{page}.md")))
    assert names - options - {"--help"} == set()


def all_flags(command: Command) -> set[str]:
    """The flags of a command, and of the commands of a group."""
    flags = {flag for option in command.params for flag in option.opts + option.secondary_opts}
    for inner in command.commands.values() if isinstance(command, Group) else ():
        flags |= all_flags(inner)
    return flags


def test_every_event_is_documented() -> None:
    types = re.findall(r"^\| `([a-z.]+)` \|", read("docs/webhooks.md"), re.MULTILINE)
    assert set(types) == {*EventType, PING}


@pytest.mark.parametrize("code", [error.code for error in ERRORS])
def test_every_problem_code_is_documented(code: str) -> None:
    assert f"`{code}`" in read("docs/problems.md")


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_gallery_says_every_problem_in_a_sentence_of_its_own(language: str) -> None:
    """Those of requests, and those that an image can have afterwards."""
    texts = read(f"web/src/texts/{language}.ts").partition("\n  problems: {\n")[2]
    said = set(re.findall(r"^    (\w+): ", texts, re.MULTILINE))
    failures = read("docs/problems.md").partition("| failure code |")[2]
    codes = {error.code for error in ERRORS} | set(
        re.findall(r"^\| `(\w+)` \|", failures, re.MULTILINE)
    )
    assert "processing_failed" in codes
    assert codes - said == set()


@pytest.mark.parametrize(
    "page", [path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *DOCS.rglob("*.md"))], ids=str
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


def test_drawings_stand_alone_and_have_a_name_and_a_background() -> None:
    """As an image, a drawing can load nothing, and lies on a page of any colour."""
    drawings = list(DOCS.glob("*.svg"))
    assert drawings
    for path in drawings:
        drawing = ET.fromstring(path.read_text())  # noqa: S314 - our own
        names = [element.tag.rpartition("}")[2] for element in drawing.iter()]
        assert drawing.get("aria-label") or "title" in names
        assert names.index("rect") < names.index("text")
        assert not {"script", "image", "foreignObject", "use"} & set(names)
        assert not re.search(r"(href|src)=|@import|url\((?!#)", path.read_text())


def test_every_target_of_the_makefile_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "docs/in-public.md"):
        for named in re.findall(r"`make ([a-z-]+)", read(page)):
            assert named in targets, (page, named)


def test_no_file_names_a_registry_or_a_path_of_a_machine() -> None:
    for name in ("constraints.txt", "pyproject.toml", "Makefile", ".ci/run"):
        text = read(name)
        assert "index-url" not in text
        assert "file://" not in text
        assert "/work/" not in text


def test_every_ignored_rule_of_the_linter_says_why() -> None:
    source = read("pyproject.toml")
    for code in tomllib.loads(source)["tool"]["ruff"]["lint"]["ignore"]:
        assert re.search(rf'"{code}",\s+# \S', source), code


def test_decisions_have_their_five_parts() -> None:
    decisions = sorted((DOCS / "decisions").glob("0*.md"))
    assert decisions
    for number, path in enumerate(decisions, start=1):
        assert path.name.startswith(f"{number:04d}-")
        text = path.read_text()
        for part in ("Status", "Context", "Decision", "Consequences", "Alternatives"):
            assert f"## {part}" in text or f"**{part}**" in text, (path.name, part)


def test_our_licence_is_in_its_file_in_the_metadata_and_in_the_readme() -> None:
    assert read("LICENSE").startswith(
        "MIT License\n\nCopyright (c) 2026 image-poster-api contributors\n"
    )
    ours = distribution("image-poster-api").metadata
    assert ours["License-Expression"] == "MIT"
    assert ours.get_all("License-File") == ["LICENSE"]
    assert "MIT\n([LICENSE](LICENSE))" in read("README.md")


def running() -> set[str]:
    """Every distribution that runs somewhere: on one machine, or in a Lambda."""
    in_lambdas = {
        normalized(name)
        for package in PACKAGES
        for name in (*package.distributions, *package.sources)
    }
    return in_lambdas | set(read_lock(ROOT / "locks" / "server.txt"))


def licence_table() -> dict[str, str]:
    page = read("docs/decisions/0018-licences-of-dependencies.md")
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", page, re.MULTILINE)
    return {name: licence for names, licence in rows for name in re.findall(r"`([\w-]+)`", names)}


def test_the_licences_of_all_that_runs_are_in_the_decision_and_no_others() -> None:
    assert set(licence_table()) == running()


def test_what_is_copyleft_is_known() -> None:
    """By the metadata, and by the lists of what wheels bundle."""
    copyleft = {name for name in running() - {"colorama", "tzdata"} if "GPL" in licence_words(name)}
    assert copyleft == {name for name, licence in licence_table().items() if "GPL" in licence}
    assert copyleft == {"pillow-heif", "pyvips-binary"}


def licence_words(name: str) -> str:
    package = distribution(name)
    words = [package.metadata["License-Expression"], package.metadata["License"]]
    words += package.metadata.get_all("Classifier", [])
    bundled = [file for file in package.files or () if "bundled" in file.name.lower()]
    return " ".join([*filter(None, words), *(file.read_text() for file in bundled)])


OPERATIONS = [
    (method, path, operation)
    for path, operations in json.loads(openapi_document())["paths"].items()
    for method, operation in operations.items()
]


# A grant signs these requests: the upload always, an image only if it is not public (for the hook).
BY_SIGNATURE = {("put", "/uploads/{post_id}"), ("get", "/images/{post_id}/{file_name}")}
# 201: created. 200: the same report is open, or the same decision is in force, and nothing changed.
SUCCESSES = {
    ("post", "/reports"): {"200", "201"},
    ("post", "/moderation/decisions"): {"200", "201"},
}


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    OPERATIONS,
    ids=[f"{entry[0]} {entry[1]}" for entry in OPERATIONS],
)
def test_the_openapi_document_says_who_may_and_what_may_be_repeated(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation["tags"]
    parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
    assert ("Idempotency-Key" in parameters) == (method == "post"), path
    assert ("grant" in parameters) == ((method, path) in BY_SIGNATURE)
    if method != "get" and (method, path) not in BY_SIGNATURE:
        assert operation["security"] == [{"bearer": []}, {"userId": []}]
    # A response with 206 is a part of that with 200 (RFC 9110, section 14).
    successes = {status for status in operation["responses"] if status.startswith("2")} - {"206"}
    assert successes == SUCCESSES.get((method, path), successes)
    assert len(successes) == 1 or (method, path) in SUCCESSES, "one status for one meaning"


def test_each_exception_for_an_operation_names_one_that_exists() -> None:
    operations = {(method, path) for method, path, _ in OPERATIONS}
    assert BY_SIGNATURE | SUCCESSES.keys() <= operations


@pytest.mark.parametrize(
    "page", ["0028-aws-documented-behaviour.md", "0040-faults-and-their-tests.md"]
)
def test_each_test_that_a_finding_names_is_there(page: str) -> None:
    names = set(re.findall(r"`(test_\w+)`", read(f"docs/decisions/{page}")))
    assert len(names) > 40
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    source += (ROOT / "tests/contract/ports/suite.py").read_text()
    assert {name for name in names if f"def {name}(" not in source} == set()
