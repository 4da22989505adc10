"""Measure the cold import of a Lambda's own code: processor time of one core, with bytecode, in an
otherwise empty environment."""

import subprocess
from pathlib import Path

from lambda_zips.contents import Package

# What a Lambda has in its environment; the addresses lead nowhere.
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "IMAGE_POSTER_TABLE": "table",
    "IMAGE_POSTER_UPLOADS_BUCKET": "uploads",
    "IMAGE_POSTER_IMAGES_BUCKET": "images",
    "IMAGE_POSTER_DISTRIBUTION": "distribution",
    "IMAGE_POSTER_SIGNING_KEY": "key",
    "IMAGE_POSTER_JWT_ISSUER": "https://issuer.example",
    "IMAGE_POSTER_JWT_AUDIENCE": "audience",
}
_SCRIPT = """
import os, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.path.insert(0, sys.argv[1])
start = time.process_time()
__import__(sys.argv[2])
print((time.process_time() - start) * 1000)
"""


def import_ms(python: str, folder: Path, package: Package) -> float:
    """Return the milliseconds of one cold import, in a process with only the package and the
    standard library on its path. Raises `RuntimeError` with its standard error if it fails."""
    words = [python, "-I", "-S", "-c", _SCRIPT, str(folder), package.module]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=folder
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout)


def best_import_ms(python: str, folder: Path, package: Package, rounds: int = 15) -> float:
    """Return the shortest of several imports, in milliseconds: other processes delayed the
    others."""
    return min(import_ms(python, folder, package) for _ in range(rounds))


def folder_bytes(folder: Path) -> int:
    """Return the total size of all files, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
