"""Another user than root, whose data folder root's commands work on, and a Python for both."""

import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

import image_poster

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
_PATH = os.pathsep.join(
    [str(Path(image_poster.__file__).parents[1]), sysconfig.get_path("purelib")]
)
VARIABLES = {
    **{key: value for key, value in os.environ.items() if not key.startswith("IMAGE_POSTER_")},
    "PYTHONPATH": _PATH,
}


@cache
def python() -> str:
    """The path of a Python of this version that any user can run; empty if there is none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        words = (candidate, "-c", "import granian, image_poster, os; print(os.__file__)")
        if shutil.which(candidate) is None or (result := _run(*words)).returncode:
            continue
        if not _run(*AS_NOBODY, "test", "-r", result.stdout.strip()).returncode:
            return candidate
    return ""


def why_not() -> str:
    """Why no other user can act here; empty if one can."""
    if os.geteuid() != 0:
        return "only root can act as another user"
    if shutil.which("setpriv") is None:
        return "setpriv is not installed"
    return "" if python() else "another user can run no Python here that has the libraries"


def image_poster_command() -> tuple[str, ...]:
    """The command `image-poster` for any user."""
    return (python(), "-m", "image_poster")


def run(*words: str | Path, code: int = 0, by: tuple[str, ...] = ()) -> str:
    """Run `image-poster`, by default as root; what it printed."""
    done = _run(*by, *image_poster_command(), *map(str, words))
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, timeout=120, check=False, env=VARIABLES
    )
