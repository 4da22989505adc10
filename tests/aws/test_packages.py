"""The packages of `make package`: complete, for the right machine, and no larger than they need to
be."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest

from lambda_zips import build as building
from lambda_zips.__main__ import BOUNDS
from lambda_zips.build import LOCK, ROOT, build, python_for, runnable_here, zipped
from lambda_zips.contents import (
    GLIBC,
    IMAGE,
    LAMBDA,
    LAMBDA_PYTHON,
    PACKAGES,
    STREAM,
    Package,
    Target,
)
from lambda_zips.lock import normalized, read_lock
from lambda_zips.measure import ENVIRONMENT, folder_bytes, import_ms
from lambda_zips.sbom import write_sbom
from support import samples
from support.imports import PROBE

# ELF header: `e_machine` of AArch64 (ELF for the Arm 64-bit Architecture, section 5.2).
ELF, MACHINE_AT, AARCH64 = b"\x7fELF", 18, 183
BuildFolder = Callable[[Package, Target], Path]
IMAGE_LIBRARIES = ("PIL", "pillow_heif", "pyvips", "pyvips_binary.libs", "_libvips.abi3.so")


@pytest.fixture(scope="module", params=PACKAGES, ids=lambda package: package.name)
def package(request: pytest.FixtureRequest) -> Package:
    package: Package = request.param
    return package


@pytest.fixture(scope="module")
def build_folder(tmp_path_factory: pytest.TempPathFactory) -> BuildFolder:
    """Build a package's folder, which no test changes. Packages with the same contents share one.
    Those of the stream's Lambda and of the healing one differ in the handler only."""

    @cache
    def contents(package: Package, target: Target) -> Path:
        return build(package, target, tmp_path_factory.mktemp("package") / "folder")

    return lambda package, target: contents(replace(package, name="", handler=""), target)


@pytest.fixture
def for_lambda(package: Package, build_folder: BuildFolder) -> Path:
    return build_folder(package, LAMBDA)


def test_native_code_is_for_lambdas_processor_python_and_glibc(for_lambda: Path) -> None:
    native = [path for path in for_lambda.rglob("*.so*") if path.is_file()]
    assert native
    this_python = f"cpython-{LAMBDA_PYTHON.replace('.', '')}-"
    for path in native:
        content = path.read_bytes()
        assert content[:4] == ELF, path
        assert int.from_bytes(content[MACHINE_AT : MACHINE_AT + 2], "little") == AARCH64, path
        assert "cpython-" not in path.name or this_python in path.name, path
        needed = [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", content)]
        assert max(needed, default=0) <= GLIBC, path


def test_the_template_has_the_python_that_packages_are_for() -> None:
    template = (ROOT / "infra" / "template.yaml").read_text()
    assert f"Runtime: python{LAMBDA_PYTHON}\n" in template
    assert "Architectures: [arm64]" in template


def test_its_zip_is_small(package: Package, for_lambda: Path, tmp_path: Path) -> None:
    archive = zipped(for_lambda, tmp_path / "package.zip")
    assert archive.stat().st_size <= BOUNDS[package.name].zip_bytes
    assert folder_bytes(for_lambda) <= 250 * 1024 * 1024


def test_only_the_image_lambda_has_image_libraries(package: Package, for_lambda: Path) -> None:
    libraries = [name for name in IMAGE_LIBRARIES if (for_lambda / name).exists()]
    assert libraries == (list(IMAGE_LIBRARIES) if package is IMAGE else [])


def test_it_has_what_is_locked(package: Package, for_lambda: Path) -> None:
    locked = read_lock(LOCK)
    assert installed(for_lambda) == {
        normalized(name): locked[normalized(name)].version
        for name in (*package.distributions, *package.sources)
    }


def test_a_file_of_another_hash_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "constraints.txt"
    other.write_text(re.sub(r"sha256:\w{8}", "sha256:00000000", LOCK.read_text()))
    monkeypatch.setattr(building, "LOCK", other)
    with pytest.raises(RuntimeError, match="DO NOT MATCH THE HASHES"):
        build(STREAM, LAMBDA, tmp_path / "folder")


def installed(folder: Path) -> dict[str, str]:
    return {
        normalized(distribution.metadata["Name"]): distribution.version
        for distribution in distributions(path=[str(folder)])
    }


@cache
def sbom(folder: Path) -> bytes:
    return write_sbom(folder, folder.with_name("first.cdx.json")).read_bytes()


def test_what_is_in_it_is_listed_for_programs_with_licences(
    package: Package, for_lambda: Path, tmp_path: Path
) -> None:
    listed = json.loads(sbom(for_lambda))
    assert listed["bomFormat"] == "CycloneDX"
    assert listed["metadata"]["component"]["name"] == "image-poster-api"
    components = {normalized(each["name"]): each for each in listed["components"]}
    assert {name: each["version"] for name, each in components.items()} == installed(for_lambda)
    assert all(each["licenses"] for each in components.values())
    if package is STREAM:
        again = write_sbom(for_lambda, tmp_path / "second.cdx.json").read_bytes()
        assert again == sbom(for_lambda), "it is made the same each time"


def test_it_carries_the_licences_of_what_others_wrote_and_ours(
    package: Package, for_lambda: Path
) -> None:
    assert (for_lambda / "image_poster" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    if package is IMAGE:
        (bundled,) = for_lambda.glob("pillow_heif-*/licenses/LICENSES_bundled.txt")
        assert "Name: x265\nLicense: GPLv2" in bundled.read_text()


def test_it_imports_in_an_empty_environment(
    package: Package, build_folder: BuildFolder, for_lambda: Path, tmp_path: Path
) -> None:
    """The same package for this machine, since its processor cannot run the other; and the other
    has every module of it."""
    here = runnable_here()
    folder = build_folder(package, here)
    assert import_ms(str(python_for(here)), folder, package) > 0
    probe = [str(python_for(here)), "-I", "-S", "-c", FOUND, str(folder), package.module]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert modules(folder) == modules(for_lambda)
    if package is IMAGE:
        renders(str(python_for(here)), folder, tmp_path)


FOUND = "import sys\nsys.path.insert(0, sys.argv.pop(1))\n" + PROBE


def modules(folder: Path) -> set[str]:
    """Every module, as its path; of native ones without the platform."""
    paths = [*folder.rglob("*.py"), *folder.rglob("*.so")]
    names = {
        re.sub(r"\.(cpython|abi3)[^/]*\.so$", ".so", str(p.relative_to(folder))) for p in paths
    }
    return {name for name in names if ".libs/" not in name and "mypyc" not in name}


RENDER = """
import sys
sys.path.insert(0, sys.argv[1])
import asyncio
from pathlib import Path
from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.ports.images import Workspace
async def render():
    renderer = VipsImageRenderer(RenderSettings())
    for name in sys.argv[2:]:
        print((await renderer.render(Workspace(Path(name), Path(name).parent))).large)
    await renderer.close()
asyncio.run(render())
"""


def renders(python: str, folder: Path, tmp_path: Path) -> None:
    files = samples.samples()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    names = [str(tmp_path / name) for name in files]
    words = [python, "-I", "-S", "-c", RENDER, str(folder), *names]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.stdout.count("Size(") == len(files), done.stderr
