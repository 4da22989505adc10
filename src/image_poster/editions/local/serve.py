"""`image-poster serve`: from settings to a served API."""

import time

import structlog
import uvloop

from image_poster.editions.local.background import recover, running
from image_poster.editions.local.data_folder import exclusively, prepare
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.supervisor import supervise
from image_poster.editions.logs import configure
from image_poster.editions.server import announce, reserved_port, serve_until_stopped

_log = structlog.get_logger()


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises `StartError` when it cannot start."""
    configure(settings.log_format)
    prepare(settings.data_dir)
    with exclusively(settings.data_dir), reserved_port(settings.host, settings.port) as port:
        if settings.insecure_dev_auth:
            _log.warning("auth=dev believes any user-id, and others can reach this address")
        started_ms = time.time_ns() // 1_000_000
        uvloop.run(recover(settings))
        if settings.workers == 1:
            uvloop.run(_serve_here(settings, port, started_ms))
        else:
            supervise(settings, port, started_ms)


async def _serve_here(settings: Settings, port: int, started_ms: int) -> None:
    async with running(settings, started_ms=started_ms, sweeps=True) as app:
        await serve_until_stopped(app, settings.host, port, lambda: announce(settings.host, port))
