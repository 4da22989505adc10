"""Structured logs on standard error, each line with the request id; lines that are CloudWatch
metrics; and the traces of one machine.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import structlog
from structlog.typing import EventDict

from image_poster.domain.limits import escape_controls
from image_poster.editions import StartError

if TYPE_CHECKING:
    from image_poster.adapters.tracing import OtlpTracer

# The control characters of a traceback's layout, which stay unescaped.
_LAYOUT = "\n\t"


def configure(log_format: str, **always: str) -> None:
    """Send the service's log, and the standard library's warnings, to standard error. Each line has
    the fields `always`.

    `log_format` is `json`, `console`, or `auto`: `console` on a terminal, else `json`.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    # Tracebacks without local variables, which would put people's words and images into the log.
    plain = structlog.dev.plain_traceback
    renderers: list[structlog.types.Processor] = (
        [_escape_values, structlog.dev.ConsoleRenderer(exception_formatter=plain)]
        if console
        else [structlog.processors.JSONRenderer(), _escape_del]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            lambda _logger, _method, event: {**always, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def open_tracer(endpoint: str, ratio: float) -> "OtlpTracer | None":
    """The tracer that sends spans to this collector (OTLP over HTTP); None without an endpoint.
    Raises as `tracer_class`."""
    return tracer_class()(endpoint, ratio) if endpoint else None


def tracer_class() -> "type[OtlpTracer]":
    """The class of tracers. Only this imports OpenTelemetry. Raises `StartError` if it is not
    installed."""
    try:
        from image_poster.adapters.tracing import OtlpTracer  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if not (exc.name or "").startswith(("opentelemetry", "google")):
            raise
        raise StartError(
            "otlp_endpoint needs the packages of OpenTelemetry: "
            "pip install 'image-poster-api[server,otel]'"
        ) from exc
    return OtlpTracer


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record), keep=_LAYOUT)


def _escape_values(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape paths, header values and error texts, which clients may have written. Other values are
    shown by `repr`, which escapes."""
    return {
        name: escape_controls(value, keep=_LAYOUT if name == "exception" else "")
        if isinstance(value, str)
        else value
        for name, value in event.items()
    }


def _escape_del(_logger: object, _method: str, line: Any) -> str:  # noqa: ANN401 - structlog's
    """Escape DEL; JSON escapes all other control characters (RFC 8259 section 7)."""
    return str(line).replace("\x7f", "\\u007f")


NAMESPACE = "image-poster"


def emf(*more_dimensions: str, **units: str) -> dict[str, Any]:
    """The field `_aws` that makes a log line a metric (embedded metric format). `units` maps the
    names of the line's numbers to their units. The dimensions are `service` and `stack`, because an
    account may have several stacks, and other fields of the line."""
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    dimensions = ["stack", "service", *more_dimensions]
    directive = {"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics}
    return {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
