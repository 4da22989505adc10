"""The words of the code: docstrings and retired names, as far as a program can check them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("src", "tests", "infra", "benchmarks", "scripts")
    for path in (ROOT / folder).rglob("*.py")
    if "node_modules" not in path.parts
)
MAX_SENTENCE_WORDS = 25
OPENINGS = re.compile(r"(What|Whether|Who|How|Where|When|That)\b")
WORD = re.compile(r"[A-Za-z][\w'-]*")
# Former names, which say less than today's.
RETIRED = {
    *("Taken", "TakenStore", "LateLimits", "LateCounter", "UploadBookings", "UploadNews"),
    *("SharedTurns", "PostBell", "SharedBell", "Silence", "SharedCounts", "DuePosts"),
    *("Healer", "HealingWalk", "Healed", "WalkKeeper", "Mover", "Stretch", "Swept", "Rebuilt"),
    *("JobDone", "AwaitMemory", "made_before", "was_ended", "known_as", "look_again", "let_go"),
    *("check_room", "is_tight", "still_of", "await_memory", "move_rank", "holding_page"),
}
# Participles and pronouns, which name no thing of the domain.
RETIRED_VARIABLES = {
    *("found", "one", "kept", "held", "given", "seen", "taken", "asked", "made", "what", "who"),
    *("told", "said", "wanted", "known"),
}
# Folders whose variables have none of these names.
PLAIN_FOLDERS = ("src/image_poster/client", "tests/browser", "tests/contract", "tests/support")
PLAIN_FILES = [path for folder in PLAIN_FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
GALLERY_FILES = [
    path
    for folder in ("src", "tests", "scripts")
    for path in sorted((ROOT / "web" / folder).rglob("*.*"))
    if path.suffix in {".ts", ".tsx", ".mjs"} and path.name != "schema.ts"
]
# A token of TypeScript: a comment, a string, a template, or an identifier.
TYPESCRIPT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`"""
    r"|(?P<identifier>[A-Za-z_$][\w$]*)",
    re.DOTALL,
)
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text())))


def docstrings(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, Documented):
            yield ast.get_docstring(node) or ""


def sentences(text: str) -> Iterator[str]:
    """The sentences of a docstring; a code span counts as one word."""
    for block in re.split(r"\n\s*\n|\n\s*[-*|>#0-9]", re.sub(r"`[^`]*`", "x", text)):
        yield from re.split(r"(?<=[.!?])\s+", " ".join(block.split()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_plain(path: Path) -> None:
    for text in docstrings(path):
        assert OPENINGS.match(text) is None, text.splitlines()[0]
        for sentence in sentences(text):
            assert len(WORD.findall(sentence)) <= MAX_SENTENCE_WORDS, sentence


def test_no_retired_name_comes_back() -> None:
    defined = {
        node.name
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert defined & RETIRED == set()


def variables(path: Path) -> Iterator[str]:
    """The names of variables, attributes and arguments that a file assigns or declares."""
    for node in nodes(path):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


@pytest.mark.parametrize("path", PLAIN_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_variables_are_named_by_nouns(path: Path) -> None:
    names = {name.strip("_").lower() for name in variables(path)}
    assert names & RETIRED_VARIABLES == set()


@pytest.mark.parametrize("path", GALLERY_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers_of_the_gallery_are_nouns(path: Path) -> None:
    tokens = TYPESCRIPT.finditer(path.read_text())
    names = {token["identifier"].lower() for token in tokens if token["identifier"]}
    assert names & RETIRED_VARIABLES == set()
