"""Metrics for operators in the Prometheus text format, for editions with long-running processes."""

import os
from functools import lru_cache

import msgspec
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

from image_poster.domain.errors import AdminsOnlyError, IdentityRequiredError
from image_poster.domain.limits import Rates
from image_poster.http import openapi
from image_poster.http.addresses import is_from_this_machine
from image_poster.http.auth import require_identity
from image_poster.http.middleware import MeasuredRequest
from image_poster.http.requests import AnyRequest

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
    "Finished image work, by outcome.",
    ("outcome",),
    registry=_registry,
)
failures = Counter(
    "image_poster_work_failures",
    "Failures of background work, by kind; it is retried.",
    ("work",),
    registry=_registry,
)
webhooks = Counter(
    "image_poster_webhook_tries",
    "Tries to deliver an event to a receiver of webhooks, by outcome.",
    ("outcome",),
    registry=_registry,
)
events = Gauge(
    "image_poster_webhook_events",
    "Events that wait for an endpoint, are parked, or were deleted beyond the bounds; each minute.",
    ("endpoint", "state"),
    multiprocess_mode="mostrecent",
    registry=_registry,
)
limits = Gauge(
    "image_poster_limit",
    "Limits of one caller, as in GET /limits.",
    ("limit",),
    multiprocess_mode="max",
    registry=_registry,
)
limited = Counter(
    "image_poster_rate_limited",
    "Requests refused with 429, by the limit.",
    ("limit",),
    registry=_registry,
)
sandbox = Gauge(
    "image_poster_sandbox",
    "1 if this measure confines the processes that decode images, 0 where the kernel lacks it.",
    ("measure",),
    multiprocess_mode="min",
    registry=_registry,
)


@lru_cache(maxsize=1024)
def request_timer(method: str, route: str, status: int) -> Histogram:
    """The cached time series of requests of this kind. All methods that clients invent share one
    series, so that their number is bounded."""
    return requests.labels(method if method in _METHODS else "other", route, status)


def observe(measured: MeasuredRequest) -> None:
    """Count a request under its route's template, not its path."""
    timer = request_timer(measured.method, measured.route, measured.status)
    timer.observe(measured.seconds)
    if measured.limit is not None:
        limited.labels(measured.limit).inc()


def show_limits(rates: Rates) -> None:
    """Export the configured limits as metrics, beside the counts of refusals."""
    for name, most in msgspec.structs.asdict(rates).items():
        if most is not None:
            limits.labels(name).set(most)


def exposition() -> bytes:
    """All metrics of this service, from all its processes if there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(_registry)
    merged = CollectorRegistry()
    multiprocess.MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
    return generate_latest(merged)


@get(
    "/metrics",
    **openapi.anyone(
        "operations",
        {200: openapi.response("The Prometheus text format.", bytes, "text/plain")},
        *(IdentityRequiredError, AdminsOnlyError),
    ),
)
async def get_metrics(request: AnyRequest) -> Response[bytes]:
    """Metrics for Prometheus.

    Requests by route and status, image work by outcome, limits. For admins, and for direct requests
    from the service's own machine.
    """
    if not is_from_this_machine(request.scope) and not (await require_identity(request)).admin:
        raise AdminsOnlyError
    return Response(exposition(), media_type=_MEDIA_TYPE)


ROUTES = (get_metrics,)
