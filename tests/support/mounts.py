"""Disks that a test mounts itself."""

import os
import subprocess
import tempfile
from functools import cache


@cache
def why_not() -> str:
    """Why none can be mounted here; empty if one can. Root of a container may not either."""
    if os.geteuid() != 0:
        return "only root mounts disks"
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "disk", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"no disk can be mounted here: {done.stderr.strip()}"
        subprocess.run(["umount", "--lazy", folder], check=True)
    return ""
