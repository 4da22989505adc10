"""The shape of the code is a test, not a wish."""

import ast
import re
import statistics
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

PACKAGE = Path(__file__).parents[2] / "src" / "image_poster"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_FUNCTION_LINES, MAX_FILE_LINES, MIN_MEAN_LINES = 40, 360, 150


def test_imports_point_inwards_only() -> None:
    """The contracts stand in pyproject.toml."""
    assert lint_imports(config_filename=str(PACKAGE.parents[1] / "pyproject.toml")) == 0


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.body[0].lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


def nodes(*kinds: type[ast.AST]) -> list[ast.AST]:
    trees = (ast.parse(path.read_text()) for path in MODULES)
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)]


def lines_of(node: ast.AST) -> int:
    return int(node.end_lineno - node.lineno + 1)  # type: ignore[attr-defined]


def test_modules_are_worth_opening_and_not_mostly_imports() -> None:
    lines = [len(path.read_text().splitlines()) for path in MODULES]
    assert statistics.mean(lines) >= MIN_MEAN_LINES
    assert sum(map(lines_of, nodes(ast.Import, ast.ImportFrom))) / sum(lines) < 0.08


def test_most_functions_are_much_shorter_than_the_longest() -> None:
    lengths = sorted(map(lines_of, nodes(ast.FunctionDef, ast.AsyncFunctionDef)))
    assert statistics.median(lengths) <= 7
    assert lengths[len(lengths) * 9 // 10] <= 20
    assert lengths[-1] <= MAX_FUNCTION_LINES


OLD_WORDS = re.compile(
    r"(?<![a-z])(pictures?|use[_ ]?cases?|edge|receipts?|most_[a-z]*|bury|unfollowed)(?![a-z])",
    re.IGNORECASE,
)


def test_the_old_words_are_gone() -> None:
    """Design, section 8. The migrations still have the names that its tables once had."""
    for path in MODULES:
        if path.name != "migrations.py":
            assert not OLD_WORDS.search(path.read_text()), path


# Names of others that docstrings speak of: a fake of the tests, words of AWS.
FOREIGN_NAMES = {"FakeTable", "IfNoneMatch", "ReportBatchItemFailures"}


def test_a_class_that_a_docstring_names_exists() -> None:
    """Names change; what is said about them must not stay behind."""
    known = {node.name for node in nodes(ast.ClassDef)}  # type: ignore[attr-defined]
    known |= {node.id for node in nodes(ast.Name)}  # type: ignore[attr-defined]
    known |= {node.name for node in nodes(ast.alias)}  # type: ignore[attr-defined]
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                said = re.findall(r"`((?:[A-Z][a-z0-9]+){2,})`", ast.get_docstring(node) or "")
                assert set(said) <= known | FOREIGN_NAMES, path


def nouns(folder: str) -> set[str]:
    return {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}


def test_a_noun_has_the_same_file_name_in_every_folder() -> None:
    """`ls adapters/*` is the support table."""
    kept_as_rows = {"posts", "comments", "feed", "uploads", "moderation", "accounts"}
    assert nouns("ports") == {*kept_as_rows, "images", "events", "tracing"}
    assert "events" in nouns("adapters/sqlite")
    for database in ("adapters/sqlite", "adapters/dynamodb"):
        assert kept_as_rows | {"idempotency", "database", "schema"} <= nouns(database)
    for files in ("adapters/files", "adapters/s3"):
        assert {"images", "uploads", "schema"} <= nouns(files)


@pytest.mark.parametrize("folder", ["editions/aws"])
def test_the_map_of_a_package_names_each_module(folder: str) -> None:
    """The map is the list in the package's docstring."""
    text = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text())) or ""
    assert set(re.findall(r"^- (\w+):", text, re.MULTILINE)) == nouns(folder)


def test_files_of_tests_have_names_of_their_own() -> None:
    """Pytest imports them by name: with two of one name, a run of all tests ends in an error."""
    names = [path.name for path in (PACKAGE.parents[1] / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_of_pillow_heif_running_code_takes_only_what_a_decoder_has() -> None:
    """So that a build without the encoder can take its place (docs/decisions/0018)."""
    uses = re.compile(r"\bpillow_heif\.(\w+)|from pillow_heif import (.+)")
    used = {name for path in MODULES for name in uses.findall(path.read_text())}
    assert used == {("open_heif", ""), ("options", "")}
