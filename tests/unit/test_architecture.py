"""The shape of the code is a test, not a wish."""

import ast
import re
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

PACKAGE = Path(__file__).parents[2] / "src" / "image_poster"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_FUNCTION_LINES, MAX_FILE_LINES = 30, 300


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


def test_every_store_has_the_same_file_names_in_each_technology() -> None:
    """`ls adapters/*` is the support table."""
    ports = {path.stem for path in (PACKAGE / "ports").glob("*.py")} - {"__init__"}
    memory = {path.stem for path in (PACKAGE / "adapters" / "memory").glob("*.py")}
    sqlite = {path.stem for path in (PACKAGE / "adapters" / "sqlite").glob("*.py")}
    files = {path.stem for path in (PACKAGE / "adapters" / "files").glob("*.py")}
    of_files = {"picture_store", "upload_store"}
    of_aws = {"comment_counter", "failure_counter", "image_work", "picture_cache"}
    of_aws |= {"remains", "upload_offsets"}
    stores = ports - of_aws - {"clock", "image_renderer", "put_urls"}
    assert stores <= memory
    assert stores - of_files <= sqlite
    assert of_files <= files


def test_the_aws_edition_has_an_adapter_for_every_port_it_needs() -> None:
    """The queue of jobs, the cleaning up and the expiry are AWS's own work."""
    ports = {path.stem for path in (PACKAGE / "ports").glob("*.py")} - {"__init__"}
    technologies = ("dynamodb", "s3", "cloudfront", "vips", "system")
    found = {path.stem for name in technologies for path in (PACKAGE / "adapters" / name).glob("*")}
    renamed = {"image_renderer"}  # renderer.py, of libvips
    assert ports - found - renamed == {"job_queue", "cleanup", "awaiting_uploads"}


def test_of_pillow_heif_running_code_takes_only_what_a_decoder_has() -> None:
    """So that a build without the encoder can take its place (docs/decisions/0018)."""
    taken = re.compile(r"\bpillow_heif\.(\w+)|from pillow_heif import (.+)")
    used = {name for path in MODULES for name in taken.findall(path.read_text())}
    assert used == {("open_heif", "")}
