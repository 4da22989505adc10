"""Background work outlives its faults, and its log stays readable while one lasts."""

import asyncio
import time
from collections.abc import Sequence

import pytest
import structlog

from image_poster.adapters.clock import ServiceClock
from image_poster.editions.local.background import FileAgeLimit
from image_poster.editions.local.maintenance import repeat_step


class Enough(BaseException):
    """Ends a loop that has no end."""


async def run(outcomes: Sequence[Exception | None]) -> tuple[list[float], list[bool]]:
    """The pauses in seconds, and which faults were logged with a traceback."""
    coming = list(outcomes)
    pauses: list[float] = []

    async def step() -> None:
        if not coming:
            raise Enough
        outcome = coming.pop(0)
        if outcome is not None:
            raise outcome

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    with structlog.testing.capture_logs() as logged, pytest.raises(Enough):
        await repeat_step("a test", step, pause)
    return pauses, [entry["exc_info"] for entry in logged]


def test_a_fault_that_lasts_has_one_traceback_and_is_tried_less_and_less_often() -> None:
    pauses, tracebacks = asyncio.run(run([OSError("disk")] * 9))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert tracebacks == [True] + [False] * 8


def test_a_new_fault_has_its_traceback_and_a_step_that_went_well_ends_the_old_one() -> None:
    faults = [OSError("disk"), ValueError("other"), None, OSError("disk"), OSError("disk")]
    pauses, tracebacks = asyncio.run(run(faults))
    assert pauses == [1, 2, 1, 2]
    assert tracebacks == [True, True, True, False]


@pytest.mark.parametrize("by_ms", [-3_600_000, 365 * 24 * 3_600_000])
def test_no_file_is_old_enough_to_sweep_once_the_wall_clock_was_set(by_ms: int) -> None:
    """A file of a running request would look as if it were from before."""
    wall_ms = 1_780_000_000_000
    up_ms, started_ms = 0, wall_ms
    clock = ServiceClock(wall_ms=lambda: wall_ms, monotonic_ms=lambda: up_ms)
    limit = FileAgeLimit(clock, started_ms)
    wall_ms, up_ms = wall_ms + 10_000, up_ms + 10_000
    assert limit.read_ms() == started_ms
    wall_ms += by_ms
    assert limit.read_ms() == 0


def test_a_start_by_a_clock_that_was_ahead_sweeps_no_file_once_it_is_right() -> None:
    """It was set between the start and the first sweep."""
    limit = FileAgeLimit(ServiceClock(), time.time_ns() // 1_000_000 + 365 * 24 * 3_600_000)
    assert limit.read_ms() == 0
