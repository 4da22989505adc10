"""A software bill of materials (CycloneDX) of a folder of installed distributions, with
licences."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from lambda_zips.build import ROOT


def write_sbom(folder: Path, into: Path) -> Path:
    """Write the bill of materials of `folder` to the file `into`, as components of this project.
    Equal contents give equal bytes. Raises `RuntimeError` if cyclonedx-py fails.

    cyclonedx-py examines an environment, so it gets an empty one with the folder on its path.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        python = _environment_with(folder, Path(name))
        words = [sys.executable, "-m", "cyclonedx_py", "environment", str(python)]
        words += ["--pyproject", str(ROOT / "pyproject.toml"), "--gather-license-texts"]
        words += ["--output-reproducible", "--output-file", str(into)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cyclonedx-py failed: {done.stderr.strip()}")
    return into


def _environment_with(folder: Path, place: Path) -> Path:
    venv.create(place, with_pip=False)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "shown.pth").write_text(f"{folder}\n")
    return place / "bin" / "python"
