"""Build the documentation as a site: `make docs`, or `docs.py PROJECT SITE`.

The pages are the Markdown files that a forge shows too: README.md, which becomes the first page,
CONTRIBUTING.md, CHANGELOG.md and docs/. The script copies them to a temporary folder with the files
that they link to, adds the API reference, and builds the site there. A warning, such as a broken
link, fails the build. The site includes its fonts, styles, scripts and search, so it works offline.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from sphinx.application import Sphinx

import api_document
from image_poster.cli.main import cli
from image_poster.http.app import openapi_document
from reference import options_page, reference_page

ROOT = Path(__file__).parents[1]
# Each page is one of the four kinds of Diátaxis (https://diataxis.fr). Names are those of pages in
# docs/, except that names with a slash begin at the project. Pages that are not named come last.
NAVIGATION: dict[str, list[str]] = {
    "Tutorial": ["tutorial"],
    "How-to": [
        *("http", "examples", "chaos-proxy", "in-public", "operations", "moderation", "proxies"),
        *("webhooks", "slow-post", "aws", "/CONTRIBUTING"),
    ],
    "Reference": [
        *("reference", "api-rules", "rules", "client", "cli", "options", "settings", "problems"),
        *("data-folder", "disasters", "aws-costs", "benchmarks", "proofs", "/CHANGELOG"),
    ],
    "Explanation": ["architecture", "feed", "gallery", "behaviour", "aws-design"],
}
DECISIONS = "Explanation: decisions"
CONFIGURATION = {
    "project": "image-poster-api",
    "html_title": "image-poster-api",
    "copyright": "2026 image-poster-api contributors, MIT",
    "extensions": ["myst_parser"],
    "root_doc": "index",
    "html_theme": "furo",
    "html_copy_source": False,
    "html_show_sphinx": False,
    "myst_heading_anchors": 4,
    "nitpicky": True,
    # Answers are shortened with "…", which is no JSON.
    "suppress_warnings": ["misc.highlighting_failure"],
}


def build(root: Path, site: Path) -> int:
    """Build the site of the project at `root` in the folder `site`; return 0 if there was no
    warning. Warnings go to standard error, with the page and the line."""
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder) / "pages"
        _copy(root, pages)
        _copy_linked(root, pages)
        _add_reference(pages / "docs")
        _link_pages(pages)
        app = Sphinx(
            srcdir=pages,
            confdir=None,
            outdir=site,
            doctreedir=Path(folder) / "doctrees",
            buildername="html",
            confoverrides=CONFIGURATION,
            status=None,
            freshenv=True,
            warningiserror=True,
        )
        app.build()
        return app.statuscode


def _copy(root: Path, pages: Path) -> None:
    shutil.copytree(root / "docs", pages / "docs")
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(root / name, pages)


def _copy_linked(root: Path, pages: Path) -> None:
    """Copy the project's files that a page links to, mostly tests: the site offers them as
    downloads."""
    for page in list(pages.rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)", page.read_text()):
            copy = Path(os.path.normpath(page.parent / target))
            if not copy.is_relative_to(pages) or copy.exists():
                continue
            original = root / copy.relative_to(pages)
            if original.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(original, copy)


def _add_reference(docs: Path) -> None:
    (docs / "openapi.json").write_bytes(openapi_document())
    (docs / "reference.md").write_text(reference_page(api_document.read()))
    if (docs / "cli.md").exists():
        (docs / "options.md").write_text(options_page(cli))


def _link_pages(pages: Path) -> None:
    """Change links to README.md to the first page, and add the navigation to that page."""
    (pages / "README.md").rename(pages / "index.md")
    for page in pages.rglob("*.md"):
        text = page.read_text()
        page.write_text(re.sub(r"(\]\((?:\.\./)*)README\.md", r"\1index.md", text))
    with (pages / "index.md").open("a") as first:
        for caption, listed in _navigation(pages).items():
            lines = "\n".join(listed)
            first.write(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n")


def _navigation(pages: Path) -> dict[str, list[str]]:
    """Return all existing pages by heading."""
    left = {f"/{page.relative_to(pages).with_suffix('')}" for page in pages.rglob("*.md")}
    left.remove("/index")
    navigation: dict[str, list[str]] = {}
    for caption, names in NAVIGATION.items():
        listed = [name if name.startswith("/") else f"/docs/{name}" for name in names]
        navigation[caption] = [name for name in listed if name in left]
        left -= set(navigation[caption])
    decisions = sorted(name for name in left if name.startswith("/docs/decisions/"))
    others = sorted(left - set(decisions))
    return navigation | ({"More": others} if others else {}) | {DECISIONS: decisions}


def main(root: Path = ROOT, site: Path = ROOT / "site") -> int:
    """Build the site in an empty folder, or replace an earlier site."""
    if site.exists() and any(site.iterdir()) and not (site / ".buildinfo").is_file():
        sys.exit(f"{site} is not empty, and no site that Sphinx built: name a folder of its own.")
    shutil.rmtree(site, ignore_errors=True)
    code = build(root, site)
    print(f"{site}/index.html: {sum(1 for _ in site.rglob('*.html'))} pages")
    return code


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
