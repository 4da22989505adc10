"""Polling: wait for a condition that another process or thread makes true."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def wait_until(
    condition: Callable[[], Result | None],
    *,
    seconds: float = 60,
    every: float = 0.02,
    message: str | Callable[[], str] = "",
    sleep: Callable[[float], object] = time.sleep,
) -> Result:
    """Return the first true result of `condition`.

    `condition` is called every `every` seconds. Raises `AssertionError` with `message` after
    `seconds` seconds.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(message() if callable(message) else message)
        sleep(every)
    return result


def wait_for_midnight_if_near(seconds: float = 120) -> None:
    """Wait until it is past, if it is less than `seconds` away: a test that takes less time is then
    of one day (UTC)."""
    left = 86_400 - time.time() % 86_400
    if left < seconds:
        time.sleep(left + 1)


def wait_for_value(read: Callable[[], object], expected: object, *, seconds: float = 60) -> None:
    """Wait until `read` returns the expected value."""
    values: list[object] = []

    def is_expected() -> bool:
        values[:] = [read()]
        return values == [expected]

    wait_until(is_expected, seconds=seconds, message=lambda: f"{values[0]!r} is not {expected!r}")
