"""Build a package: a folder with the contents of Lambda's /var/task, and its zip."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from lambda_zips.contents import GLIBC, LAMBDA_PYTHON, Package, Target, on_linux
from lambda_zips.lock import requirements

ROOT = Path(__file__).parents[2]
_OWN_CODE = ROOT / "src" / "image_poster"
LOCK = ROOT / "constraints.txt"
_TASK = "/var/task"
_THIS_PYTHON = "{}.{}".format(*sys.version_info)
# Zips are the same, byte for byte, for the same contents.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_BROWSER_FILES = {"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"}


def build(package: Package, target: Target, folder: Path) -> Path:
    """Build the package in a new `folder`. Raises `RuntimeError` if pip fails."""
    _install(package, target, folder)
    excluded_paths = [_OWN_CODE / part for part in package.without]
    shutil.copytree(
        _OWN_CODE,
        folder / "image_poster",
        ignore=lambda parent, names: [
            name for name in names if name == "__pycache__" or Path(parent, name) in excluded_paths
        ],
    )
    shutil.copy(ROOT / "LICENSE", folder / "image_poster")
    _prune(folder, package)
    python = python_for(target)
    if python is not None:
        _compile(python, folder)
    return folder


def zipped(folder: Path, archive: Path) -> Path:
    """Write the folder to the zip `archive`. Equal contents give equal bytes."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zip_file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)), _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            zip_file.writestr(entry, path.read_bytes())
    return archive


def one_machine(folder: Path) -> Path:
    """Install the locked dependencies of the one-machine edition in a new `folder`."""
    lock = ROOT / "locks" / "server.txt"
    words = ["install", "--no-compile", "--no-build-isolation", "--target", str(folder)]
    _pip(*words, "--require-hashes", "--requirement", str(lock))
    return folder


def python_for(target: Target) -> str | None:
    """Return an interpreter for the target: this one, or one of that version on PATH (the variable
    `LAMBDA_PYTHON` overrides PATH). Return None if there is none."""
    if target.python == _THIS_PYTHON:
        return sys.executable
    offered = os.environ.get("LAMBDA_PYTHON") or shutil.which(f"python{target.python}")
    if offered is None:
        return None
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([offered, "-c", script], capture_output=True, text=True, check=False)
    return offered if done.stdout.strip() == target.python else None


def runnable_here() -> Target:
    """Return a target for this machine: with Lambda's Python if it is installed, else with this
    one."""
    glibc = int(platform.libc_ver()[1].partition(".")[2] or GLIBC)
    target = on_linux(LAMBDA_PYTHON, platform.machine(), glibc)
    return target if python_for(target) else Target(_THIS_PYTHON)


def _install(package: Package, target: Target, folder: Path) -> None:
    options = ["install", "--no-compile", "--target", str(folder)]
    if target.platforms:
        options += ["--only-binary=:all:", "--implementation=cp"]
        options += [f"--python-version={target.python}"]
        options += [f"--platform={tag}" for tag in target.platforms]
    with tempfile.TemporaryDirectory() as wheels:
        _pip_locked(package.distributions, *options)
        for name in package.sources:
            _pip(*options, str(_pure_wheel(name, Path(wheels, name))))


def _pure_wheel(name: str, folder: Path) -> Path:
    """Build a wheel, for any machine, of a distribution that has none. The build tools are locked
    too (the group `build`). Raises `RuntimeError` if the wheel is for this machine only."""
    _pip_locked([name], "wheel", "--no-build-isolation", "--wheel-dir", str(folder))
    (wheel,) = folder.glob("*.whl")
    if not wheel.stem.endswith("-none-any"):
        raise RuntimeError(f"{wheel.name} is for this machine only")
    return wheel


def _pip_locked(names: Iterable[str], *words: str) -> None:
    """Run pip with these distributions; it refuses files whose hashes are not in
    constraints.txt."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements(LOCK, names))
        file.flush()
        _pip(*words, "--require-hashes", "--requirement", file.name)


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", *words, "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip failed: {done.stderr.strip()}")


def _prune(folder: Path, package: Package) -> None:
    shutil.rmtree(folder / "bin", ignore_errors=True)
    data = folder / "botocore" / "data"
    for path in data.iterdir():
        if path.is_dir() and path.name not in package.services:
            shutil.rmtree(path)
    _prune_endpoints(data / "endpoints.json", package.services)
    for path in folder.rglob("examples-1.json"):
        path.unlink()
    for path in (folder / "swagger_ui_bundle").rglob("*"):
        if path.is_file() and path.suffix != ".py" and path.name not in _BROWSER_FILES:
            path.unlink()


def _prune_endpoints(path: Path, services: tuple[str, ...]) -> None:
    """Keep only the endpoints of these services, since botocore reads all of them at its start."""
    known = json.loads(path.read_text())
    for partition in known["partitions"]:
        partition["services"] = {
            name: hosts for name, hosts in partition["services"].items() if name in services
        }
    path.write_text(json.dumps(known))


def _compile(python: str, folder: Path) -> None:
    """Compile to bytecode, since Lambda cannot store it. The bytecode is never compared with the
    sources, which do not change there (PEP 552, unchecked)."""
    words = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    words += ["-s", str(folder), "-p", _TASK, str(folder)]
    subprocess.run(words, check=True)
