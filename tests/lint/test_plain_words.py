"""The words, sentences and lines of the docs: the rules that a program can check."""

import re
from pathlib import Path

import pytest

import tables

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MAX_SENTENCE_WORDS = 25
MAX_LINE_CHARACTERS = 120
MAX_README_WORDS = 500
WORD = re.compile(r"[A-Za-z][\w'-]*")
CODE = re.compile(r"^```.*?^```$|<!--.*?-->", re.MULTILINE | re.DOTALL)
# Retired words of prose, and the words to write instead. Code spans and tables by `make tables` may
# have them.
RETIRED = {
    "who is asking": "the caller",
    "who asks": "the caller",
    "whoever": "any client, any process",
    "asked for": "requested, or name the request",
    "may take": "quota, rate limit",
    "word is taken": "trusted",
    "is as good as": "means",
    "dead-letter place": "dead letters",
    "receipt": "idempotency record",
    "picture": "image",
    "pictures": "images",
    "mended": "repaired",
    "booked": "reserved",
    "those that": "name the things",
}


def prose(page: Path) -> str:
    """The page without code blocks, comments and generated tables."""
    text = page.read_text()
    text = re.sub(r"<!-- table, by .*?<!-- /table -->", "", text, flags=re.DOTALL)
    return CODE.sub("", text)


def sentences(page: Path) -> list[str]:
    """The sentences of the prose; a code span counts as one word, and tables are left out."""
    text = re.sub(r"`[^`]*`", "x", prose(page))
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^#.*$", "\\g<0>\n", text, flags=re.MULTILINE)
    blocks = re.split(r"\n\s*\n|\n\s*(?=(?:[-*|>#]|\d+\.)\s)", text)
    flat = (" ".join(block.split()) for block in blocks)
    return [
        sentence
        for block in flat
        if not block.startswith("|")
        for sentence in re.split(r"(?<=[.!?])\s+", block)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sentences_have_at_most_25_words(page: Path) -> None:
    long = [text for text in sentences(page) if len(WORD.findall(text)) > MAX_SENTENCE_WORDS]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_lines_are_wrapped(page: Path) -> None:
    """Rows of tables cannot be wrapped, nor can images, which stand alone on their line."""
    lines = (line for line in prose(page).splitlines() if not line.startswith(("|", "![")))
    assert [line for line in lines if len(line) > MAX_LINE_CHARACTERS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_docs_use_no_retired_word(page: Path) -> None:
    text = " ".join(re.sub(r"`[^`]*`|\]\([^)]*\)", "", prose(page)).lower().split())
    used = {word: better for word, better in RETIRED.items() if re.search(rf"\b{word}\b", text)}
    assert used == {}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MAX_README_WORDS


@pytest.mark.parametrize("page", tables.PAGES)
def test_tables_are_those_of_the_code(page: str) -> None:
    """`make tables` writes them."""
    text = (DOCS / page).read_text()
    assert tables.with_table(text, tables.PAGES[page]()) == text
