"""The command `image-poster`, as people type it."""

import os
import subprocess
from pathlib import Path

from support.api import someone
from support.servers import LOCAL

COMMAND = LOCAL[:-1]


class Shell:
    """Runs commands against one service, each in a process of its own."""

    def __init__(self, url: str, state: Path) -> None:
        self.user = someone()
        clean = {key: value for key, value in os.environ.items() if "IMAGE_POSTER" not in key}
        self.variables = {**clean, "IMAGE_POSTER_URL": url, "XDG_STATE_HOME": str(state)}

    def run(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self.variables,
        )
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done
