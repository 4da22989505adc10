"""Log lines that CloudWatch also draws metrics from, and the one of each request.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import time
from typing import Any

import structlog

from image_poster.http.middleware import Measured

NAMESPACE = "image-poster"
_SERVER_FAULT = 500
_log = structlog.get_logger()


def emf(**units: str) -> dict[str, Any]:
    """What makes a log line a metric: the names of its numbers, with their units."""
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["service"]], "Metrics": metrics}
    return {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}


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
