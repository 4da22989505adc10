"""The package as people install it: a venv with what its wheel asks for, and nothing else."""

import re
import shutil
import subprocess
import sys
import venv
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Litestar asks for them; `make run` leaves them out, and so do we (docs/decisions/0018).
LEFT_OUT = {"polyfactory"}


def build_wheel(folder: Path) -> Path:
    """Our wheel, made with what is installed here."""
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*words, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, place: Path, extra: str = "") -> Path:
    """Make a new venv in `place` that has the wheel, and return its `bin`. All that the wheel needs
    with this extra comes as copies of installed packages. No index is used."""
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    words = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*words, "--no-index", "--no-deps", str(wheel)], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (ours,) = packages.glob("image_poster_api-*.dist-info")
    for name in sorted(_closure(PathDistribution(ours), extra)):
        _copy(distribution(name), packages)
    return place / "bin"


def installed(binaries: Path) -> set[str]:
    """The names of the distributions of such a venv."""
    return {
        canonicalize_name(re.split(r"-\d", path.name)[0])
        for path in binaries.parent.glob("lib/python*/site-packages/*.dist-info")
    }


def _closure(of: Distribution, extra: str) -> set[str]:
    names: set[str] = set()
    waiting = [(of, extra)]
    while waiting:
        asking, its_extra = waiting.pop()
        for requirement in map(Requirement, asking.requires or ()):
            name = canonicalize_name(requirement.name)
            if name in names | LEFT_OUT:
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": its_extra}):
                names.add(name)
                waiting.append((distribution(name), ""))
    return names


def _copy(source: Distribution, packages: Path) -> None:
    for file in source.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), target)
