"""`image-poster serve`: serve the API from these settings, in this process or in several on one
data folder and one port.

The kernel spreads connections over workers (SO_REUSEPORT, socket(7)); SQLite allows one write at a
time. Each worker watches its standard input, a pipe that the supervisor holds. When the supervisor
ends in any way, the pipe ends, and the worker stops.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

import structlog
import uvloop

from image_poster.adapters.clock import ServiceClock
from image_poster.adapters.sharing import (
    RateCounters,
    SharedNotifier,
    WorkerDescriptors,
    WriterLock,
    create_descriptors,
)
from image_poster.editions.local import data_folder, ownership
from image_poster.editions.local.background import recover, run_app
from image_poster.editions.local.container import Shared
from image_poster.editions.local.server import (
    GRACE_SECONDS,
    announce,
    reserve_port,
    resolve_address,
    serve_until_stopped,
)
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.snapshot import bring_up_to_date
from image_poster.editions.logs import configure, tracer_class

READY = b"ready\n"
_COMMAND = (sys.executable, "-m", "image_poster.editions.local.serve")
_WATCH_SECONDS = 0.2
_RESTART_PAUSE_SECONDS = 1.0
# The files that the metrics' library writes, with the number of the process.
_FIGURES = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_\d+\.db")

_log = structlog.get_logger()


def serve(settings: Settings) -> None:
    """Serve until a signal stops it. Raises `StartError` when it cannot start."""
    configure(settings.log_format)
    settings = replace(settings, host=resolve_address(settings.host))  # and checked again
    for warning in settings.warnings:
        _log.warning(warning)
    if settings.otlp_endpoint:
        tracer_class()  # before anything is created
    data_folder.enter_own_folder(settings.data_dir)
    ownership.require_program(settings.data_dir)
    with (
        data_folder.lock_for_server(settings.data_dir),
        reserve_port(settings.host, settings.port) as port,
    ):
        started_ms = time.time_ns() // 1_000_000
        data_folder.mark_folder(settings.data_dir)
        data_folder.require_right_database(settings.data_dir)
        bring_up_to_date(settings.data_dir)
        ownership.limit_readers(settings.data_dir, ownership.group_id(settings.renditions_group))
        clock = _recover(settings)
        if settings.workers == 1:
            uvloop.run(_serve_here(settings, port, started_ms, clock))
        else:
            supervise(settings, port, started_ms, clock)


def _recover(settings: Settings) -> ServiceClock:
    try:
        return uvloop.run(recover(settings))
    except sqlite3.DatabaseError as exc:
        raise data_folder.database_error(data_folder.database_path(settings.data_dir), exc) from exc


async def _serve_here(settings: Settings, port: int, started_ms: int, clock: ServiceClock) -> None:
    shared = Shared.alone(clock)
    async with run_app(settings, started_ms=started_ms, sweeps=True, shared=shared) as app:
        await serve_until_stopped(
            app,
            settings.host,
            port,
            lambda: announce(settings.host, port),
            app.end_unfinished,
        )


@dataclass(frozen=True)
class WorkerOrder:
    """A worker's parameters, as JSON on its command line. The worker inherits the descriptors."""

    settings: Settings
    port: int
    started_ms: int
    sweeps: bool
    descriptors: WorkerDescriptors
    clock_origin_ms: int

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(text: str) -> "WorkerOrder":
        fields = json.loads(text)
        settings = fields.pop("settings")
        settings["data_dir"] = Path(settings["data_dir"])
        settings["webhook"] = tuple(settings["webhook"])
        counters, writer_lock, receiver, senders = fields.pop("descriptors")
        descriptors = WorkerDescriptors(counters, writer_lock, receiver, tuple(senders))
        return WorkerOrder(settings=Settings(**settings), descriptors=descriptors, **fields)


def supervise(settings: Settings, port: int, started_ms: int, clock: ServiceClock) -> None:
    """Run `settings.workers` workers, replacing any that dies, until SIGTERM or SIGINT."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    orders = [
        WorkerOrder(settings, port, started_ms, index == 0, descriptors, clock.origin_ms)
        for index, descriptors in enumerate(create_descriptors(settings.workers))
    ]
    with _metrics_folder(settings.data_dir) as metrics_folder:
        workers = [_start_worker(order, metrics_folder) for order in orders]
        if all(_is_ready(worker) for worker in workers):
            announce(settings.host, port)
            _replace_ended_workers(workers, orders, metrics_folder, stop)
        _stop_workers(workers)


@contextmanager
def _metrics_folder(data_dir: Path) -> Iterator[Path]:
    """The folder of the workers' metrics. It is in the data folder, so that the next start removes
    the files of a killed server. Other files there stay."""
    folder = data_dir / "metrics"
    folder.mkdir(exist_ok=True)
    _clear_figures(folder)
    yield folder
    _clear_figures(folder)
    with suppress(OSError):  # it is not empty
        folder.rmdir()


def _clear_figures(folder: Path) -> None:
    for path in folder.iterdir():
        if _FIGURES.fullmatch(path.name) and path.is_file():
            path.unlink()


def _start_worker(order: WorkerOrder, metrics_folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own command
        [*_COMMAND, order.to_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(metrics_folder)},
        start_new_session=True,
        pass_fds=order.descriptors.inherited,
    )


def _is_ready(worker: subprocess.Popen[bytes]) -> bool:
    return worker.stdout is not None and worker.stdout.readline() == READY


def _replace_ended_workers(
    workers: list[subprocess.Popen[bytes]],
    orders: list[WorkerOrder],
    metrics_folder: Path,
    stop: threading.Event,
) -> None:
    while not stop.wait(_WATCH_SECONDS):
        for index, worker in enumerate(workers):
            if worker.poll() is None:
                continue
            _log.error("a worker ended and is replaced", worker=index, code=worker.returncode)
            stop.wait(_RESTART_PAUSE_SECONDS)
            workers[index] = _start_worker(orders[index], metrics_folder)


def _stop_workers(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + GRACE_SECONDS + 1
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _report_ready() -> None:
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


def _end_with_supervisor() -> None:
    """Stop this worker when standard input ends, as it does when the supervisor ends."""
    # Not through `sys.stdin`: at the end the interpreter would wait for the lock of its buffer.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(order: WorkerOrder) -> None:
    settings, descriptors = order.settings, order.descriptors
    shared = Shared(
        RateCounters(descriptors.counters, exclusive=False),
        SharedNotifier(descriptors),
        WriterLock(descriptors.writer_lock),
        ServiceClock(order.clock_origin_ms),
    )
    async with run_app(
        settings, started_ms=order.started_ms, sweeps=order.sweeps, shared=shared
    ) as app:
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
        await serve_until_stopped(app, settings.host, order.port, _report_ready, app.end_unfinished)


if __name__ == "__main__":
    ORDER = WorkerOrder.from_json(sys.argv[1])
    configure(ORDER.settings.log_format)
    uvloop.run(_serve(ORDER))
