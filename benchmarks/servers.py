"""Start what is measured, pinned to the cores of the server side."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from load import SERVER_CORES

PEERS = Path(__file__).parent / "peers"


@contextmanager
def ours(data_dir: Path, *flags: str, cores: set[int] = SERVER_CORES) -> Iterator[tuple[str, int]]:
    """Our server's URL and process id."""
    command = [sys.executable, "-m", "image_poster", "serve", "--port", "0"]
    with _announced([*command, "--data-dir", str(data_dir), *flags], cores) as found:
        yield found


@contextmanager
def same_bytes(body: Path) -> Iterator[tuple[str, int]]:
    """The same server answering `body` from memory."""
    command = [sys.executable, str(PEERS / "same_bytes.py"), "0", str(body)]
    with _announced(command, SERVER_CORES) as found:
        yield found


@contextmanager
def fastapi(database: Path) -> Iterator[str]:
    """The FastAPI peer's URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = _start(
        [
            *(sys.executable, "-m", "uvicorn", "fastapi_app:app", "--port", str(port)),
            *("--no-access-log", "--log-level", "warning", "--loop", "uvloop"),
        ],
        SERVER_CORES,
        cwd=PEERS,
        env={**os.environ, "PEER_DATABASE": str(database)},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/count")
        yield url
    finally:
        _end(process)


@contextmanager
def _announced(command: list[str], cores: set[int]) -> Iterator[tuple[str, int]]:
    process = _start(command, cores, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().split()[-1], process.pid
    finally:
        _end(process)


def _start(command: list[str], cores: set[int], **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        command,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - we have no threads
        **options,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)
