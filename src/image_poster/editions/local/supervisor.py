"""Several processes on one data folder and one port.

The kernel spreads connections over them (SO_REUSEPORT, socket(7)); SQLite lets one write at a time.
Each worker watches its standard input, a pipe that the supervisor holds: when that ends, however
the supervisor ended, so does the worker.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import structlog

from image_poster.editions.local.settings import Settings
from image_poster.editions.server import GRACE_SECONDS, announce

READY = b"ready\n"
_COMMAND = (sys.executable, "-m", "image_poster.editions.local.worker")
_WATCH_SECONDS = 0.2
_RESTART_PAUSE_SECONDS = 1.0

_log = structlog.get_logger()


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker is told, as JSON on its command line."""

    settings: Settings
    port: int
    started_ms: int
    sweeps: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(text: str) -> "WorkerOrder":
        fields = json.loads(text)
        settings = fields.pop("settings")
        settings["data_dir"] = Path(settings["data_dir"])
        return WorkerOrder(settings=Settings(**settings), **fields)


def supervise(settings: Settings, port: int, started_ms: int) -> None:
    """Run `settings.workers` workers, replacing any that dies, until SIGTERM or SIGINT."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with tempfile.TemporaryDirectory(prefix="image-poster-metrics-") as metrics_folder:
        orders = [
            WorkerOrder(settings, port, started_ms, sweeps=index == 0)
            for index in range(settings.workers)
        ]
        workers = [_start(order, metrics_folder) for order in orders]
        if all(_is_ready(worker) for worker in workers):
            announce(settings.host, port)
            _watch(workers, orders, metrics_folder, stop)
        _end(workers)


def _start(order: WorkerOrder, metrics_folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own command
        [*_COMMAND, order.to_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": metrics_folder},
        start_new_session=True,
    )


def _is_ready(worker: subprocess.Popen[bytes]) -> bool:
    return worker.stdout is not None and worker.stdout.readline() == READY


def _watch(
    workers: list[subprocess.Popen[bytes]],
    orders: list[WorkerOrder],
    metrics_folder: str,
    stop: threading.Event,
) -> None:
    while not stop.wait(_WATCH_SECONDS):
        for index, worker in enumerate(workers):
            if worker.poll() is None:
                continue
            _log.error("a worker ended and is replaced", worker=index, code=worker.returncode)
            time.sleep(_RESTART_PAUSE_SECONDS)
            workers[index] = _start(orders[index], metrics_folder)


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + GRACE_SECONDS + 1
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
