"""What is known of a request once it was answered."""

from collections.abc import Callable
from typing import NamedTuple

import structlog

_log = structlog.get_logger()


class Measured(NamedTuple):
    """A request, its route's template, its answer, and how long that took."""

    method: str
    route: str
    path: str
    status: int
    seconds: float


Observer = Callable[[Measured], None]


def log_access(measured: Measured) -> None:
    """A line in the log for each request."""
    _log.info(
        "request",
        method=measured.method,
        path=measured.path,
        status=measured.status,
        ms=round(measured.seconds * 1000, 2),
    )
