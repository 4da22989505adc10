"""One of several serving processes; started by the supervisor."""

import os
import signal
import sys
import threading

import uvloop

from image_poster.editions.local.background import running
from image_poster.editions.local.supervisor import READY, WorkerOrder
from image_poster.editions.logs import configure
from image_poster.editions.server import serve_until_stopped


def _say_ready() -> None:
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


def _end_with_supervisor() -> None:
    """Standard input ends when the supervisor does; then stop as if told to."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(order: WorkerOrder) -> None:
    settings = order.settings
    async with running(settings, started_ms=order.started_ms, sweeps=order.sweeps) as app:
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
        await serve_until_stopped(app, settings.host, order.port, _say_ready)


if __name__ == "__main__":
    ORDER = WorkerOrder.from_json(sys.argv[1])
    configure(ORDER.settings.log_format)
    uvloop.run(_serve(ORDER))
