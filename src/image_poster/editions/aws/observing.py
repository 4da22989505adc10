"""A line in the log for each request of the API, which is three metrics as well."""

import structlog

from image_poster.editions.aws.emf import emf
from image_poster.http.observing import Measured

_SERVER_FAULT = 500
_log = structlog.get_logger()


def log_request(measured: Measured) -> None:
    """A line and three metrics for each request of the API."""
    _log.info(
        "request",
        service="api",
        method=measured.method,
        route=measured.route,
        path=measured.path,
        status=measured.status,
        Latency=round(measured.seconds * 1000, 2),
        Requests=1,
        Faults=int(measured.status >= _SERVER_FAULT),
        _aws=emf(Latency="Milliseconds", Requests="Count", Faults="Count"),
    )
