"""Start a real server in a process of its own, and end it by its id."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from support.waiting import wait_for_value

LOCAL = (sys.executable, "-m", "image_poster", "serve")
AWS = (sys.executable, "-m", "aws_local")

_LISTENING = re.compile(r"listening on (http://\S+)\n")
_INFRA = str(Path(__file__).parents[2] / "infra")
_PATH = os.pathsep.join([_INFRA, *filter(None, [os.environ.get("PYTHONPATH")])])
_CLEAN = {key: value for key, value in os.environ.items() if not key.startswith("IMAGE_POSTER_")}


@dataclass
class Server:
    """A running server: its process and where it listens."""

    process: subprocess.Popen[str]
    url: str

    def kill(self) -> None:
        """As `kill -9` would."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(timeout=60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        return self.wait()


def start(
    command: tuple[str, ...], *flags: str, log: IO[str] | None = None, **variables: str
) -> Server:
    """Start a server on a free port and wait for its line; it writes its log to `log`."""
    process = subprocess.Popen(
        [*command, "--port", "0", *flags],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**_CLEAN, "PYTHONPATH": _PATH, **variables},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = _LISTENING.fullmatch(line)
    if match is None:
        process.kill()
        process.wait()
        raise AssertionError(f"the server said {line!r} instead of where it listens")
    return Server(process, match[1])


def wait_until_ready(url: str) -> None:
    """Until it says so: while its disk takes longer than 2 s for a write, it does not."""
    wait_for_value(lambda: httpx.get(f"{url}/readyz").json(), {"status": "ready"})


def refused(*flags: str, **variables: str) -> str:
    """The message of a `serve` that does not start."""
    done = subprocess.run(
        [*LOCAL, *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "", **variables},
    )
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


@contextmanager
def running(command: tuple[str, ...], *flags: str) -> Iterator[Server]:
    """A server for as long as the block lasts."""
    server = start(command, *flags)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
        else:
            server.wait()  # it ended by itself: let go of its output


@contextmanager
def local_server(data_dir: Path, *flags: str) -> Iterator[Server]:
    """The one-machine edition on `data_dir`."""
    with running(LOCAL, "--data-dir", str(data_dir), *flags) as server:
        yield server
