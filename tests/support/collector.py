"""A collector of OpenTelemetry traces: it decodes what arrives by OTLP over HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.loopback import answering_posts
from support.waiting import wait_until


@dataclass(frozen=True)
class Span:
    """A span, with its times in nanoseconds since 1970. `parent` is empty for the first one."""

    trace: str
    id: str
    parent: str
    name: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, str]

    @property
    def milliseconds(self) -> float:
        """The duration."""
        return (self.ended_ns - self.began_ns) / 1e6


@dataclass
class Collector:
    """All spans that came. `hangs` makes it answer never."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    hangs: threading.Event | None = None

    def trace_of(self, name: str) -> list[Span]:
        """The spans of the newest trace that has a span of this name, by their begin."""
        ids = [span.trace for span in self.spans if span.name == name]
        return self.spans_of(ids[-1]) if ids else []

    def spans_of(self, trace_id: str) -> list[Span]:
        """The spans of a trace, by their begin."""
        trace = [span for span in self.spans if span.trace == trace_id]
        return sorted(trace, key=lambda span: span.began_ns)

    def wait_for(self, root: str, *names: str) -> list[Span]:
        """The newest trace with the span `root`, once it has spans of all these names."""
        wait_until(
            lambda: set(names) <= {span.name for span in self.trace_of(root)},
            message=lambda: str([span.name for span in self.spans]),
        )
        return self.trace_of(root)

    def receive(self, body: bytes) -> None:
        """Decode a request."""
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.name,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        {
                            each.key: each.value.string_value or str(each.value.int_value)
                            for each in span.attributes
                        },
                    )
                    for span in scope.spans
                ]


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector on a free port of the loopback interface."""
    collector = Collector()

    def export(handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        if collector.hangs is not None:
            collector.hangs.wait(60)
        collector.receive(body)
        handler.send_response(200)
        handler.send_header("content-length", "0")
        handler.end_headers()

    with answering_posts(export) as url:
        collector.url = url
        yield collector
