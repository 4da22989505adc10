"""Traces: the spans of one request, of the work that it causes, and of their steps.

The edition for one machine has the only adapter, `adapters.tracing`: X-Ray traces the Lambdas
without one. Services may not import adapters. Where nothing is traced, they have `NULL_TRACER`.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Tracer(Protocol):
    """Records spans. A span has no text, name or token of a user."""

    def span(self, name: str, parent: str | None = None) -> AbstractContextManager[None]:
        """A span that is current within the block. It belongs to `parent` (a `traceparent` of W3C
        Trace Context), or without one to the current span. Nothing is recorded without both, nor
        for an invalid parent."""
        ...

    def record(self, name: str, began_ns: int, ended_ns: int) -> None:
        """Record a step of the current span that has ended. Times are of `now_ns`."""
        ...

    def traceparent(self) -> str | None:
        """The current span as a `traceparent`; None if there is none, or if it is not sampled."""
        ...


class _NullTracer:
    """A `Tracer` that records nothing."""

    def span(self, name: str, parent: str | None = None) -> AbstractContextManager[None]:
        del name, parent
        return nullcontext()

    def record(self, name: str, began_ns: int, ended_ns: int) -> None:
        pass

    def traceparent(self) -> str | None:
        return None


NULL_TRACER: Tracer = _NullTracer()


def now_ns() -> int:
    """The wall clock's time in nanoseconds since 1970, for `Tracer.record`."""
    return time.time_ns()
