"""Numbers for operators, in the Prometheus text format; for editions whose processes last long
enough to be asked."""

import os
from functools import lru_cache

from litestar import Response, get
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from image_poster.http.middleware import Measured
from image_poster.http.openapi import bytes_of, responses

# Litestar names the charset of text by itself.
_MEDIA_TYPE = CONTENT_TYPE_LATEST.partition("; charset")[0]

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

_registry = CollectorRegistry()
requests = Histogram(
    "image_poster_http_request_seconds",
    "Time from a request's head to the end of its answer.",
    ("method", "route", "status"),
    buckets=_BUCKETS,
    registry=_registry,
)
images = Counter(
    "image_poster_images",
    "Image work done, by how it ended.",
    ("outcome",),
    registry=_registry,
)
sandbox = Gauge(
    "image_poster_sandbox",
    "Whether this confines the processes that decode images: 1, or 0 where the kernel lacks it.",
    ("measure",),
    multiprocess_mode="min",
    registry=_registry,
)


@lru_cache(maxsize=1024)
def request_timer(method: str, route: str, status: int) -> Histogram:
    """The series of one kind of request; remembered, since each request asks for its own. Methods
    that clients invent are one, or they could make as many series as they like."""
    return requests.labels(method if method in _METHODS else "other", route, status)


def observe(measured: Measured) -> None:
    """Count a request, under its route's template and not its path."""
    timer = request_timer(measured.method, measured.route, measured.status)
    timer.observe(measured.seconds)


def exposition() -> bytes:
    """All numbers of this service; of all its processes where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(_registry)
    merged = CollectorRegistry()
    multiprocess.MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
    return generate_latest(merged)


@get(
    "/metrics",
    operation_id="getMetrics",
    summary="Numbers for Prometheus",
    tags=["operations"],
    responses=responses({200: bytes_of("text/plain", "The Prometheus text format.")}),
)
async def get_metrics() -> Response[bytes]:
    """Requests by route and status, image work by outcome."""
    return Response(exposition(), media_type=_MEDIA_TYPE)


ROUTES = (get_metrics,)
