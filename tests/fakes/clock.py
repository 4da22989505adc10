"""A clock that stands still until a test moves it."""

from image_poster.domain.ids import IdSequence


class ManualClock:
    """`Clock` for tests: time passes by `advance` only, and `set_wall` sets the wall clock."""

    def __init__(self, now_ms: int = 1_770_000_000_000) -> None:
        self._now_ms = self._service_ms = now_ms
        self._ids = IdSequence()

    def now_ms(self) -> int:
        return self._now_ms

    def service_ms(self) -> int:
        return self._service_ms

    def new_id(self) -> str:
        return self._ids.next(self._service_ms)

    def advance(self, milliseconds: int) -> None:
        """Advance both clocks."""
        self._now_ms += milliseconds
        self._service_ms += milliseconds

    def set_wall(self, now_ms: int) -> None:
        """Set the wall clock."""
        self._now_ms = now_ms

    def raise_to(self, time_ms: int) -> None:
        """Raise the service clock to `time_ms`, unless it is past that time."""
        self._service_ms = max(self._service_ms, time_ms)
