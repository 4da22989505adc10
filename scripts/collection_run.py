"""Run docs/collection/image-poster.http against a server: `make collection-run`.

It uses httpYac, which `make peers` installs with npm. The exit code is 1 if an answer differs from
the file.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HTTPYAC = ROOT / "tests" / "peers" / "node_modules" / "httpyac" / "bin" / "httpyac.js"


def main(url: str) -> int:
    """Send all requests in their order; print a line for each."""
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
