"""Traces: the spans of one request, of the work that it causes, and of their steps.

Only one machine has an adapter, `adapters.tracing`, because X-Ray traces the Lambdas without one.
Services and other adapters may not import it. Without it nothing is traced: `NULL_TRACER`.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Tracer(Protocol):
    """Records spans. A span has no text of a user, no name and no token."""

    def span(self, name: str, parent: str | None = None) -> AbstractContextManager[None]:
        """A span that is current within the block. It belongs to `parent` (a `traceparent` of W3C
        Trace Context), else to the current span; without both, nothing is recorded."""
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
