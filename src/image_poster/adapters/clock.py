"""The machine's clocks."""

import time
from collections.abc import Callable

from image_poster.domain.ids import MAX_MS, IdSequence

# Unlike CLOCK_MONOTONIC, this clock of Linux also counts while the machine sleeps
# (clock_gettime(2)). All processes of a machine read the same value.
_MONOTONIC = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    return time.clock_gettime_ns(_MONOTONIC) // 1_000_000


class SystemClock:
    """`Clock` of a Lambda. AWS keeps its wall clock right, so that is its service clock too."""

    def __init__(self) -> None:
        self._ids = IdSequence()

    def now_ms(self) -> int:
        return _wall_ms()

    def service_ms(self) -> int:
        return _wall_ms()

    def new_id(self) -> str:
        return self._ids.next(_wall_ms())


class ServiceClock:
    """`Clock` of one machine. The service clock starts with the wall clock, is raised to stored
    times, and otherwise advances with the machine's monotonic clock.

    `origin_ms` is the service clock's time when the monotonic clock showed 0. The processes of one
    server share it.
    """

    def __init__(
        self,
        origin_ms: int | None = None,
        *,
        wall_ms: Callable[[], int] = _wall_ms,
        monotonic_ms: Callable[[], int] = _monotonic_ms,
    ) -> None:
        self.now_ms = wall_ms
        self._monotonic_ms = monotonic_ms
        self.origin_ms = wall_ms() - monotonic_ms() if origin_ms is None else origin_ms
        self._ids = IdSequence()

    def service_ms(self) -> int:
        return self.origin_ms + self._monotonic_ms()

    def new_id(self) -> str:
        return self._ids.next(self.service_ms())

    def offset_ms(self) -> int:
        """The wall clock minus the service clock: it changes when either is set."""
        return self.now_ms() - self.service_ms()

    def raise_to(self, time_ms: int) -> None:
        """Raise the service clock to `time_ms`, unless it is past that time."""
        self.origin_ms = max(self.origin_ms, min(time_ms, MAX_MS) - self._monotonic_ms())
