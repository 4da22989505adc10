"""The services' interfaces to the outside, one module a noun; here are those of no noun. Each
docstring is a contract, tested by the suite in `tests/contract/ports` for every adapter and for the
fakes in `tests/fakes`.

Services need ports because they may not import adapters. If only one edition has an implementation,
the port's docstring says so.

Two rules hold for every port. A write is durable when its call returns normally. Adapters translate
foreign errors to those of `domain/errors.py`.
"""

from typing import Protocol


class Clock(Protocol):
    """The wall clock, the service clock (docs/decisions/0034), and ids by the service clock."""

    def now_ms(self) -> int:
        """The wall clock, for times that people see: milliseconds since 1970, UTC. It may be wrong,
        and may be set forward or back at any moment."""
        ...

    def service_ms(self) -> int:
        """The service clock, for ids, feed epochs and lifetimes: milliseconds since 1970. It never
        goes back."""
        ...

    def new_id(self) -> str:
        """A new id with the service clock's time, greater than all earlier ids of this clock."""
        ...


class RateLimiter(Protocol):
    """Counts callers' actions under one rule. A restart may lose the counts."""

    async def count(self, caller: str) -> None:
        """Count one action of `caller`. Raises `RateLimitedError`, with nothing counted, if the
        rule's limit is reached; exact also across processes."""
        ...
