"""Other people's programs, which `make peers` installs with npm."""

import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "peers"


def why_not() -> str:
    """Why they cannot be run; empty if they can."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (FOLDER / "node_modules").is_dir():
        return "tus-js-client is not installed: run `make peers`"
    return ""


needs_peers = pytest.mark.skipif(bool(why_not()), reason=why_not())
