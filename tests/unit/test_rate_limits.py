"""Counting callers by the minute, in memory that processes share."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_poster.adapters.sharing import _WAYS, RateCounters, SharedRateLimiter, create_counters
from image_poster.domain.errors import RateLimitedError
from image_poster.domain.limits import RateRule

MINUTE = 60


class Clock:
    """Seconds, moved by hand."""

    now = 1000 * MINUTE + 12.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counts(clock: Clock) -> Iterator[RateCounters]:
    counts = RateCounters.create(clock=clock)
    yield counts
    counts.close()


def count_accepted(counts: RateCounters, caller: str, limit: int, tries: int) -> int:
    return sum(counts.try_acquire(caller, limit) == 0 for _ in range(tries))


def test_as_many_as_the_limit_are_taken_of_each_caller(counts: RateCounters) -> None:
    assert count_accepted(counts, "alice", 5, tries=9) == 5
    assert count_accepted(counts, "bob", 7, tries=9) == 7


def test_a_minute_that_was_full_is_forgotten_bit_by_bit(counts: RateCounters, clock: Clock) -> None:
    assert count_accepted(counts, "alice", 60, tries=99) == 60
    clock.now = 1001 * MINUTE + 30.0  # half of the minute before still counts
    assert count_accepted(counts, "alice", 60, tries=99) == 30
    clock.now = 1003 * MINUTE
    assert count_accepted(counts, "alice", 60, tries=99) == 60


@given(
    limit=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 90), st.integers(1, 60)), max_size=12),
)
def test_who_waits_as_told_is_taken_and_no_minute_has_more_than_the_limit(
    limit: int, steps: list[tuple[float, int]]
) -> None:
    clock, by_minute = Clock(), dict[int, int]()
    counts = RateCounters.create(clock=clock)
    for pause, tries in steps:
        clock.now += pause
        for _ in range(tries):
            wait = counts.try_acquire("alice", limit)
            if not wait:
                minute = int(clock.now // MINUTE)
                by_minute[minute] = by_minute.get(minute, 0) + 1
    while wait := counts.try_acquire("alice", limit):
        assert 1 <= wait <= 2 * MINUTE
        before = clock.now
        clock.now += wait
        assert counts.try_acquire("alice", limit) == 0
        clock.now = before + wait + 2 * MINUTE
    assert all(count <= limit for count in by_minute.values())
    counts.close()


def test_what_is_refused_is_not_counted(counts: RateCounters, clock: Clock) -> None:
    """Or who goes on asking would never be let in again."""
    assert count_accepted(counts, "alice", 2, tries=500) == 2
    clock.now += 2 * MINUTE
    assert count_accepted(counts, "alice", 2, tries=500) == 2


def test_strangers_push_out_those_who_came_least(
    counts: RateCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, _ = counts._set_of("alice")
    monkeypatch.setattr(counts, "_set_of", lambda caller: (at, hash(caller) & (2**64 - 1)))
    assert count_accepted(counts, "alice", 3, tries=3) == 3
    for stranger in range(10 * _WAYS):
        assert counts.try_acquire(f"stranger {stranger}", 3) == 0
    assert counts.try_acquire("alice", 3) > 0


_TAKER = """
import sys
from image_poster.adapters.sharing import RateCounters
counts = RateCounters(int(sys.argv[1]), exclusive=False, clock=lambda: 60_000.0)
sys.stdin.read(1)
print(sum(counts.try_acquire("alice", 500) == 0 for _ in range(400)))
"""


def test_several_processes_count_together_and_exactly() -> None:
    counts = RateCounters(create_counters(), exclusive=False)
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", _TAKER, str(counts.descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[counts.descriptor],
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(3)
    ]
    for taker in takers:  # all have the descriptor: now at once
        assert taker.stdin is not None
        taker.stdin.write("x")
        taker.stdin.flush()
    assert sum(int(taker.communicate()[0]) for taker in takers) == 500
    counts.close()


def test_no_file_is_left_that_could_be_found(counts: RateCounters) -> None:
    assert os.fstat(counts.descriptor).st_nlink == 0


@pytest.mark.anyio
async def test_rules_are_counted_apart_and_tell_what_to_do(counts: RateCounters) -> None:
    writes = SharedRateLimiter(counts, RateRule("writes_per_minute", 1, "writes"))
    requests = SharedRateLimiter(counts, RateRule("requests_per_minute", 1, "requests"))
    await writes.count("alice")
    await requests.count("alice")
    with pytest.raises(RateLimitedError) as refused:
        await writes.count("alice")
    assert refused.value.limit == "writes_per_minute"
    assert refused.value.retry_after
    assert f"Try again in {refused.value.retry_after} s." in refused.value.detail
