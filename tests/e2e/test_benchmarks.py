"""What the benchmarks stand on: a peer that starts."""

import subprocess
import sys
from pathlib import Path

import httpx

SAME_BYTES = Path(__file__).parents[2] / "benchmarks" / "peers" / "same_bytes.py"


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
