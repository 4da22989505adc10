"""The time of day."""

from typing import Protocol


class Clock(Protocol):
    """Where the time comes from, so that tests can say what it is."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...
