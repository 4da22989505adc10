"""`make bench`: every benchmark, both sides in one run, as one table of ratios.

`python benchmarks/run.py feed comments` runs some of them only. `--smoke` runs them with small
numbers (`make bench-smoke`), to see that they run: its figures mean nothing and are not judged.
Ends with 1 if a benchmark cannot run, or a line is missing or measured nothing.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bench_aws
import bench_comments
import bench_data_folder
import bench_feed
import bench_gallery
import bench_images
import bench_mixed
import bench_own_feed
import bench_posting
import bench_serving
import bench_tracing
import bench_uploads
import bench_walks
import bench_webhooks
import bench_workers
from report import Found, Line, faults
from sizes import FULL, SMOKE, Scale

# What no longer answers must not hold CI up; a busy machine takes three times an idle one's 40 s.
_MAX_SMOKE_SECONDS = 600


@dataclass(frozen=True)
class Benchmark:
    """Gives `expected` lines, or says for how many a peer is not installed."""

    lines: Callable[[Path, Scale], Iterator[Found]]
    expected: int


BENCHMARKS = {
    "feed": Benchmark(bench_feed.lines, 8),
    "own_feed": Benchmark(bench_own_feed.lines, 6),
    "walks": Benchmark(bench_walks.lines, 2),
    "serving": Benchmark(bench_serving.lines, 4),
    "mixed": Benchmark(bench_mixed.lines, 2),
    "comments": Benchmark(bench_comments.lines, 4),
    "tracing": Benchmark(bench_tracing.lines, 4),
    "webhooks": Benchmark(bench_webhooks.lines, 4),
    "workers": Benchmark(bench_workers.lines, 3),
    "images": Benchmark(bench_images.lines, 7),
    "uploads": Benchmark(bench_uploads.lines, 18),
    "posting": Benchmark(bench_posting.lines, 5),
    "data_folder": Benchmark(bench_data_folder.lines, 3),
    "aws": Benchmark(bench_aws.lines, 4),
    "gallery": Benchmark(bench_gallery.lines, bench_gallery.LINES),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare with peers, as a table of ratios.")
    parser.add_argument("--smoke", action="store_true", help="only see that they run")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    print(f"{os.cpu_count()} cores; server side on core 0, load on core 1, unless said otherwise")
    if arguments.smoke:
        _end_after(_MAX_SMOKE_SECONDS)
    results = {name: _run(name, smoke=arguments.smoke) for name in names}
    if not arguments.smoke:
        _judge([line for lines in results.values() for line in lines if isinstance(line, Line)])
    wrong = [fault for name in names for fault in _faults(name, results[name])]
    for fault in wrong:
        print(f"wrong: {fault}")
    return 1 if wrong else 0


def _run(name: str, *, smoke: bool) -> list[Found]:
    began = time.monotonic()
    entries = []
    # Beside the code, not in /tmp: that may be memory, on which nothing is durable.
    with tempfile.TemporaryDirectory(prefix=f".bench-{name}-", dir=Path.cwd()) as folder:
        for entry in BENCHMARKS[name].lines(Path(folder), SMOKE if smoke else FULL):
            print(entry.text(judged=not smoke) if isinstance(entry, Line) else entry, flush=True)
            entries.append(entry)
    print(f"  ({name}: {time.monotonic() - began:.0f} s)", flush=True)
    return entries


def _judge(lines: list[Line]) -> None:
    judged = [line for line in lines if line.target is not None]
    short = [line.name for line in judged if not line.met]
    print(f"{len(judged) - len(short)} of {len(judged)} targets met")
    for label in short:
        print(f"fell short: {label}")


def _faults(name: str, entries: list[Found]) -> list[str]:
    return faults(name, BENCHMARKS[name].expected, entries)


def _end_after(seconds: int) -> None:
    """Raise `TimeoutError` in the main thread then; on its way out, what was started is ended."""

    def late(*_: object) -> None:
        raise TimeoutError(f"the benchmarks were still running after {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)


if __name__ == "__main__":
    sys.exit(main())
