"""The two clocks (docs/decisions/0034)."""

from typing import Protocol


class Clock(Protocol):
    """The wall clock, the service clock, and ids by the service clock."""

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
