"""The documentation as a site: whole, and enough for itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import api_document
from docs import NAVIGATION
from image_poster.cli.main import cli

ROOT = Path(__file__).parents[2]
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc=["']?([^"'\s>]+)"""
    r"""|<link\b[^>]*?\brel=["']?(?:stylesheet|preload|icon|shortcut icon)\b"""
    r"""[^>]*?\bhref=["']?([^"'\s>]+)"""
    r"""|\burl\(["']?([^"')]+)|@import ["']([^"']+)"""
)


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: Sphinx changes docutils for good, and warns at the second time."""
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs.py", project, site],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_of_the_docs_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    first = (site / "index.html").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        path = page.relative_to(ROOT).with_suffix(".html")
        assert (site / path).exists(), path
        assert f'href="{path}"' in first, path


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = [
        (page.name, address)
        for page in (*site.rglob("*.html"), *site.rglob("*.css"))
        for groups in LOADED.findall(page.read_text())
        for address in filter(None, groups)
    ]
    assert loaded
    foreign = [
        page_and_address
        for page_and_address in loaded
        if re.match(r"https?:|//", page_and_address[1])
    ]
    assert foreign == []


def test_the_search_is_in_the_site_and_knows_every_page(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f'"{page.relative_to(ROOT).with_suffix("")}"' in index
    assert "searchindex.js" in (site / "search.html").read_text()


def test_the_api_reference_has_every_operation(site: Path) -> None:
    page = (site / "docs" / "reference.html").read_text()
    for operation in api_document.read().operations:
        assert f"<h3>{operation.method} {operation.path}<" in page


def test_the_options_of_every_command_are_in_the_site(site: Path) -> None:
    page = (site / "docs" / "options.html").read_text()
    for name, command in cli.commands.items():
        assert f"Usage: image-poster {name} " in page
        for option in command.params:
            assert option.opts[0] in page or option.param_type_name == "argument", (
                name,
                option.opts,
            )


def test_every_page_has_one_of_the_four_kinds() -> None:
    """Each is named once in the navigation; decisions are explanations."""
    named = [name for names in NAVIGATION.values() for name in names]
    assert len(named) == len(set(named))
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    generated = {"reference", "options"}
    assert pages | generated == {name for name in named if not name.startswith("/")}


def test_the_files_of_strangers_are_not_replaced_by_a_site(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("a stranger's")
    built = build(ROOT, tmp_path)
    assert (built.returncode, "name a folder of its own" in built.stderr) == (1, True)
    assert (tmp_path / "thesis.txt").read_text() == "a stranger's"


def test_broken_links_fail_the_build_and_are_named(tmp_path: Path) -> None:
    """And nothing else is: in a project of few pages."""
    docs = tmp_path / "project" / "docs"
    docs.mkdir(parents=True)
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/http.md"):
        (docs.parent / name).write_text("# Title\n\nText.\n")
    links = ("[a](no-page.md)", "[b](http.md#no-heading)", "![c](no-image.png)")
    (docs / "client.md").write_text("\n\n".join(["# Client", *links, "[d](http.md#title)", ""]))
    built = build(docs.parent, tmp_path / "site")
    assert built.returncode == 1
    for line, broken in zip((3, 5, 7), ("no-page.md", "no-heading", "no-image.png"), strict=True):
        assert re.search(rf"client\.md:{line}: .*{broken}", built.stderr), built.stderr
    assert built.stderr.count("WARNING: ") == len(links), built.stderr
