"""The foundations of the benchmarks: a peer that starts, and a table that notices missing lines.

`make bench-smoke`, which CI calls, shows that all of them run.
"""

import math
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from report import Line, Skipped, faults

SAME_BYTES = Path(__file__).parents[2] / "benchmarks" / "peers" / "same_bytes.py"


def line(ratio: float) -> Line:
    return Line("ours / theirs", ratio, 1, ">=", "")


def test_the_peer_that_answers_from_memory_starts_and_answers_its_file(tmp_path: Path) -> None:
    page = tmp_path / "page.json"
    page.write_bytes(b'{"posts":[],"next":null}')
    command = [sys.executable, str(SAME_BYTES), "0", str(page)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said.startswith("listening on http://"), said
            answer = httpx.get(f"{said.split()[-1]}/posts")
        finally:
            process.terminate()
    assert (answer.status_code, answer.content) == (200, page.read_bytes())


def test_a_benchmark_that_gives_all_its_lines_is_right() -> None:
    assert faults("feed", 2, [line(0.5), line(2)]) == []


def test_lines_of_a_peer_that_is_not_installed_are_accounted_for() -> None:
    assert faults("uploads", 3, [line(0.5), Skipped(2, "nginx is not installed")]) == []


@pytest.mark.parametrize("lines", [[], [line(1)], [line(1), line(1), line(1)]])
def test_a_missing_line_and_one_too_many_are_faults(lines: list[Line]) -> None:
    assert faults("feed", 2, lines) == [f"feed: {len(lines)} lines, 0 skipped, of 2"]


@pytest.mark.parametrize("ratio", [0.0, -0.1, math.inf, math.nan])
def test_a_line_that_measured_nothing_is_a_fault(ratio: float) -> None:
    assert faults("feed", 1, [line(ratio)]) == [f"feed: ours / theirs: {ratio}"]
