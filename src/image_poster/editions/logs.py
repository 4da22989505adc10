"""Logging: structured, to standard error, each line with the request id; and lines that CloudWatch
draws metrics from.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import logging
import sys
import time
from typing import Any

import structlog


def configure(log_format: str, **always: str) -> None:
    """Send our log, and the standard library's warnings, to standard error; each line has what
    there is `always`.

    `log_format` is `json`, `console`, or `auto`: the console's on a terminal.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    # Tracebacks without local variables, which would put people's words and images into the log.
    plain = structlog.dev.plain_traceback
    renderers: list[structlog.types.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            lambda _logger, _method, event: {**always, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


NAMESPACE = "image-poster"


def emf(**units: str) -> dict[str, Any]:
    """What makes a log line a metric: the names of its numbers, with their units. The line has its
    `service`, and its `stack`: an account may have several."""
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["stack", "service"]], "Metrics": metrics}
    return {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
