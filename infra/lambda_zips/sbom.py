"""A list of what is in a folder of installed distributions (CycloneDX), with their licences."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from lambda_zips.build import ROOT


def write_sbom(folder: Path, into: Path) -> Path:
    """List the distributions in `folder`, as components of this project, in the file `into`; the
    same, byte for byte, for the same contents. Raises `RuntimeError` if that fails.

    cyclonedx-py looks at an environment, so it is shown an empty one with the folder on its path.
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
