"""Other people's programs, which `make peers` installs with npm."""

import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "peers"


def why_not(package: str = "tus-js-client") -> str:
    """Why this one cannot be run; empty if it can."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (FOLDER / "node_modules" / package).is_dir():
        return f"{package} is not installed: run `make peers`"
    return ""


needs_peers = pytest.mark.skipif(bool(why_not()), reason=why_not())
needs_httpyac = pytest.mark.skipif(bool(why_not("httpyac")), reason=why_not("httpyac"))
