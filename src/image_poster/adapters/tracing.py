"""Traces by OpenTelemetry, sent to a collector by OTLP over HTTP. Imported only if
`--otlp-endpoint` is set.

https://opentelemetry.io/docs/specs/otlp/ and https://www.w3.org/TR/trace-context/. Spans wait in a
bounded queue for a thread that sends them, so a collector that is slow or down costs spans only.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from image_poster import __version__
from image_poster.domain.errors import ImagePosterError
from image_poster.domain.idempotency import AlreadyAnsweredError
from image_poster.domain.moderation import AlreadyReportedError

_PATH = "/v1/traces"
_EXPORT_SECONDS = 5
_FLUSH_SECONDS = 1
_TRACEPARENT = "traceparent"
_SERVER_ERROR = 500
_FAILING = "the collector of traces cannot be reached, or refuses spans: they are lost"
# Clients may invent methods, and these name spans.
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# Refusals are results of an operation, not its faults.
_REFUSALS = (ImagePosterError, AlreadyAnsweredError, AlreadyReportedError)

_propagator = TraceContextTextMapPropagator()
_log = structlog.get_logger()


class _ReportingExporter(SpanExporter):
    """Logs when the exports begin to fail, and when they work again."""

    def __init__(self, inner: SpanExporter, endpoint: str) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001 - any error of its libraries is a failed export
            result = SpanExportResult.FAILURE
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing != self._is_failing:
            self._is_failing = is_failing
            if is_failing:
                _log.warning(_FAILING, endpoint=self._endpoint)
            else:
                _log.info("the collector of traces works again", endpoint=self._endpoint)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class OtlpTracer:
    """`Tracer` by OpenTelemetry. A span of a remote parent is sampled if the parent is; `ratio` of
    the other requests are."""

    def __init__(self, endpoint: str, ratio: float) -> None:
        # Its messages would repeat with each batch; `_ReportingExporter` logs one.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        address = endpoint.rstrip("/").removesuffix(_PATH) + _PATH
        exporter = OTLPSpanExporter(address, timeout=_EXPORT_SECONDS)
        self._processor = BatchSpanProcessor(
            _ReportingExporter(exporter, endpoint), export_timeout_millis=_EXPORT_SECONDS * 1000
        )
        resource = Resource.create({"service.name": "image-poster", "service.version": __version__})
        provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=resource,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("image_poster", __version__)

    @contextmanager
    def span(self, name: str, parent: str | None = None) -> Iterator[None]:
        context = None if parent is None else _propagator.extract({_TRACEPARENT: parent})
        current = trace.get_current_span(context)
        # A span that has ended, or is not sampled, may still be the current one.
        is_within = (
            current.is_recording() if parent is None else current.get_span_context().is_valid
        )
        if not is_within:
            yield
            return
        with self._current(self._tracer.start_span(name, context)):
            yield

    @contextmanager
    def _current(self, span: trace.Span) -> Iterator[trace.Span]:
        """Make the span the current one. A fault is named by its type: its text may have a
        user's."""
        token = contexts.attach(trace.set_span_in_context(span))
        try:
            yield span
        except BaseException as exc:
            if not isinstance(exc, _REFUSALS):
                span.set_status(trace.StatusCode.ERROR, type(exc).__name__)
            raise
        finally:
            contexts.detach(token)
            span.end()

    def record(self, name: str, began_ns: int, ended_ns: int) -> None:
        if trace.get_current_span().is_recording():
            self._tracer.start_span(name, start_time=began_ns).end(max(began_ns, ended_ns))

    def traceparent(self) -> str | None:
        if not trace.get_current_span().is_recording():
            return None
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get(_TRACEPARENT)

    @contextmanager
    def request_span(self, scope: Scope) -> Iterator[trace.Span]:
        """The span of a request, within that of its header `traceparent` if it has a valid one."""
        name = _TRACEPARENT.encode()
        parents = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
        carrier = {_TRACEPARENT: parents[0]} if len(parents) == 1 else {}
        context = _propagator.extract(carrier, contexts.Context())
        span = self._tracer.start_span("request", context, kind=trace.SpanKind.SERVER)
        with self._current(span):
            yield span

    def traced(self, app: ASGIApp, end_unfinished: Callable[[], None]) -> "TracedApp":
        """The app with a span for each request."""
        return TracedApp(app, end_unfinished, self)

    def close(self) -> None:
        """Send the last spans, for at most a second. A thread that still waits for the collector
        then does not delay the end of the program."""
        flush = threading.Thread(target=self._processor.force_flush, daemon=True)
        flush.start()
        flush.join(_FLUSH_SECONDS)


class TracedApp:
    """The app with a span for each request. The response's header `traceparent` names it."""

    def __init__(
        self, app: ASGIApp, end_unfinished: Callable[[], None], tracer: OtlpTracer
    ) -> None:
        self._app = app
        self._tracer = tracer
        self.end_unfinished = end_unfinished

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        with self._tracer.request_span(scope) as span:
            try:
                await self._app(scope, receive, _traced_send(span, send))
            finally:
                _describe(span, scope)


def _traced_send(span: trace.Span, send: Send) -> Send:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)

    async def traced(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set_attribute("http.response.status_code", status)
            if status >= _SERVER_ERROR:
                span.set_status(trace.StatusCode.ERROR)
            names = [(name.encode(), value.encode()) for name, value in carrier.items()]
            message = {**message, "headers": [*message["headers"], *names]}
        await send(message)

    return traced


def _describe(span: trace.Span, scope: Any) -> None:  # noqa: ANN401 - Litestar's mapping
    """Name the span by the method and the route's template, which are known after the routing."""
    method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
    route = scope.get("path_template")
    span.update_name(f"{method} {route}" if route else method)
    span.set_attribute("http.request.method", method)
    if route:
        span.set_attribute("http.route", route)
    request_id = scope.get("state", {}).get("request_id")
    if request_id:
        span.set_attribute("request.id", request_id)
