"""docs/rules.md and docs/moderation.md name endpoints, settings, controls and tests that exist."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from image_poster.cli.main import cli
from image_poster.http.app import openapi_document

ROOT = Path(__file__).parents[2]
HEADER = "| requirement | service | gallery | tests | your part |"
NOTHING = "\N{EN DASH}"
ENDPOINT = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^` ?]*)`")
ENDPOINTS = {
    (method.upper(), re.sub(r"\{\w+\}", "{}", path))
    for path, operations in json.loads(openapi_document())["paths"].items()
    for method in operations
}
SETTINGS = {flag for parameter in cli.commands["serve"].params for flag in parameter.opts}
GALLERY_TEXTS = "".join(path.read_text() for path in (ROOT / "web/src/texts").glob("*en.ts"))


class Row(NamedTuple):
    """A line of a table: a requirement, and how it is met."""

    requirement: str
    service: str
    gallery: str
    tests: str
    part: str


def rows(page: str) -> list[Row]:
    """The lines of the page's tables of requirements."""
    lines = iter(page.splitlines())
    table = []
    for line in lines:
        if line == HEADER:
            next(lines)
            while (line := next(lines, "")).startswith("|"):
                table.append(Row(*(cell.strip() for cell in line.split("|")[1:-1])))
    return table


ROWS = rows((ROOT / "docs/rules.md").read_text())


def missing(row: Row) -> list[str]:
    """Names in the row that do not exist, and cells that must not be empty."""
    files = [path_of_test(name) for name in re.findall(r"`(\w+/test_\w+\.py)`", row.tests)]
    names = [
        *missing_endpoints(row.service),
        *(flag for flag in re.findall(r"`(--[a-z-]+)`", row.service) if flag not in SETTINGS),
        *(name for name in re.findall(r"`([^`]+)`", row.gallery) if not is_control(name)),
        *(str(file.relative_to(ROOT)) for file in files if not file.exists()),
        *missing_tests(row.tests, [file for file in files if file.exists()]),
    ]
    if ENDPOINT.search(row.service) and not files:
        names.append("a test of the endpoint")
    if row.service == NOTHING and row.part in ("", NOTHING):
        names.append("the operator's part")
    return names


def missing_endpoints(text: str) -> list[str]:
    return [
        f"{method} {path}"
        for method, path in ENDPOINT.findall(text)
        if (method, re.sub(r"\{\w+\}", "{}", path)) not in ENDPOINTS
    ]


def is_control(name: str) -> bool:
    """Return True if the gallery has a text of this name; NAME and N stand for inserted values."""
    pattern = re.sub(r"\b(?:NAME|N)\b", r"\\$\\{[^}]+\\}", re.escape(name))
    return re.search(rf'["`]{pattern}["`]', GALLERY_TEXTS) is not None


def path_of_test(name: str) -> Path:
    folder, file = name.split("/")
    return ROOT / "tests" / {"http": "contract/http"}.get(folder, folder) / file


def missing_tests(text: str, files: list[Path]) -> list[str]:
    source = "".join(file.read_text() for file in files)
    return [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in source]


def test_each_source_has_its_requirements() -> None:
    """A lost table, or another heading of one, would pass the test of each row."""
    assert len(ROWS) > 60
    for paragraph in ("16(1)", "16(6)", "17(1)", "17(3)(f)", "17(5)", "20(1)", "20(6)"):
        assert any(row.requirement.startswith(f"{paragraph}: ") for row in ROWS), paragraph


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.requirement[:60])
def test_each_name_of_a_requirement_exists(row: Row) -> None:
    assert missing(row) == []


GOOD = Row("delete", "`DELETE /posts/{id}`", "`Delete`", "`http/test_posts.py`", "")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"service": "`DELETE /accounts/{id}`"}, "DELETE /accounts/{id}"),
        ({"service": "`--magic`"}, "--magic"),
        ({"gallery": "`Delete all`"}, "Delete all"),
        ({"tests": "`http/test_magic.py`"}, "tests/contract/http/test_magic.py"),
        ({"tests": "`http/test_posts.py`, `test_magic`"}, "test_magic"),
        ({"tests": ""}, "a test of the endpoint"),
        ({"service": NOTHING, "part": ""}, "the operator's part"),
    ],
)
def test_a_name_that_does_not_exist_is_reported(change: dict[str, str], name: str) -> None:
    assert missing(GOOD) == []
    assert missing(GOOD._replace(**change)) == [name]


def test_texts_with_inserted_names_are_controls() -> None:
    assert is_control("Comments (N)")
    assert not is_control("Comments (all)")


def test_the_commands_of_the_page_on_moderation_exist() -> None:
    page = (ROOT / "docs/moderation.md").read_text()
    commands = set(re.findall(r"image-poster ([a-z]+)", page))
    assert "decide" in commands
    assert commands - set(cli.commands) == set()


def test_the_addresses_of_the_page_on_moderation_exist() -> None:
    """`01K…` stands for an id, and a shell variable for a whole path."""
    page = (ROOT / "docs/moderation.md").read_text()
    paths = set(re.findall(r"localhost:8080(/[\w/…]+)", page))
    assert "/moderation/decisions" in paths
    known = {path for _, path in ENDPOINTS}
    assert {path for path in paths if path.replace("01K…", "{}") not in known} == set()
