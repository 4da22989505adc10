"""`make bench`: every benchmark, both sides in one run, as one table of ratios.

`python benchmarks/run.py feed comments` runs some of them only.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import bench_aws
import bench_comments
import bench_feed
import bench_pictures
import bench_uploads
from report import Line

BENCHMARKS = {
    "feed": bench_feed,
    "comments": bench_comments,
    "pictures": bench_pictures,
    "uploads": bench_uploads,
    "aws": bench_aws,
}


def main() -> None:
    chosen = sys.argv[1:] or list(BENCHMARKS)
    print(f"{os.cpu_count()} cores; server side on core 0, load on core 1, unless said otherwise")
    found: list[Line] = []
    for name in chosen:
        began = time.monotonic()
        # Beside the code, not in /tmp: that may be memory, on which nothing is durable.
        with tempfile.TemporaryDirectory(prefix=f".bench-{name}-", dir=Path.cwd()) as folder:
            for line in BENCHMARKS[name].lines(Path(folder)):
                print(line, flush=True)
                found.append(line)
        print(f"  ({name}: {time.monotonic() - began:.0f} s)")
    judged = [line for line in found if line.target is not None]
    short = [line.what for line in judged if not line.met]
    print(f"{len(judged) - len(short)} of {len(judged)} targets met")
    for what in short:
        print(f"fell short: {what}")


if __name__ == "__main__":
    main()
