"""Run docs/collection/image-poster.http against a server: `make collection-run`.

By httpYac, which `make peers` installs with npm. Ends with 1 if a request was not answered as it
says.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HTTPYAC = ROOT / "tests" / "peers" / "node_modules" / "httpyac" / "bin" / "httpyac.js"


def main(url: str) -> int:
    """All requests, in their order; prints a line for each."""
    node = shutil.which("node")
    if node is None or not HTTPYAC.exists():
        sys.exit("collection-run: needs node 20, and httpYac: run `make peers`")
    quiet = {**os.environ, "NO_COLOR": "1"}
    command = [node, str(HTTPYAC), "send", "image-poster.http", "--all", "--output", "short"]
    done = subprocess.run(
        [*command, "--env", "local", "--var", f"base_url={url}"],
        cwd=ROOT / "docs" / "collection",
        env=quiet,
        stderr=subprocess.DEVNULL,  # the dump of a request that could not be sent
        check=False,
    )
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
