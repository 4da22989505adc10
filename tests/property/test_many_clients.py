"""Two hundred clients at a service that goes down, comes back, and is busy at first. A clock that
the test moves tells them the time, so that the same seed is the same run."""

import heapq
import random
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import pytest

from image_poster.client.retries import (
    ConnectionFailure,
    Outcome,
    Pause,
    Policy,
    Reply,
    Retries,
    Send,
)

CLIENTS, PROGRESS_AT = 200, 8.0
DOWN_AT, UP_AT, CALM_AT = 10.0, 16.0, 18.0
A_SECOND = 40  # requests that it answers while it is busy
REFUSED, BROKEN = ConnectionFailure("refused", reached=False), ConnectionFailure("broken")
BUSY = Reply(503, {"retry-after": "2"}, b"")


class World:
    """A clock and the requests that were made by it, in tenths of a second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.requests: Counter[int] = Counter()
        self._answered: Counter[int] = Counter()

    def answer(self) -> Outcome:
        self.requests[int(self.now * 10)] += 1
        if self.now < UP_AT:
            return REFUSED
        self._answered[int(self.now)] += 1
        if self.now < CALM_AT and self._answered[int(self.now)] > A_SECOND:
            return BUSY
        return Reply(204, {}, b"")


class Client:
    """One that had made progress, and was cut by the restart."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        world.now = PROGRESS_AT
        retries = Retries(policy)
        retries.record_progress()
        self._steps = retries.exchange(Send("HEAD", "/uploads/1"))
        next(self._steps)
        self._outcomes: Iterator[Outcome] = chain([BROKEN], iter(world.answer, None))

    def try_once(self) -> float | None:
        """The seconds until the next try; None once it is through."""
        try:
            step = self._steps.send(next(self._outcomes))
        except StopIteration:
            return None
        assert isinstance(step, Pause)
        self._steps.send(None)
        return step.seconds


def run(world: World, draw: random.Random) -> list[float]:
    """The time at which each client got through."""
    policy = Policy(now=lambda: world.now, jitter=draw.uniform)
    clients = [Client(world, policy) for _ in range(CLIENTS)]
    due = [(DOWN_AT, number) for number in range(CLIENTS)]
    finished: list[float] = []
    while due:
        world.now, number = heapq.heappop(due)
        wait = clients[number].try_once()
        if wait is None:
            finished.append(world.now)
        else:
            heapq.heappush(due, (world.now + wait, number))
    return finished


@pytest.mark.parametrize("seed", range(5))
def test_a_restarting_service_is_spared_by_two_hundred_clients(seed: int) -> None:
    world = World()
    finished = run(world, random.Random(seed))
    assert len(finished) == CLIENTS
    first, last = int(DOWN_AT * 10), int(UP_AT * 10)
    assert world.requests[first] >= CLIENTS  # each at once: most cuts are of one connection
    down = [world.requests[at] for at in range(first + 1, last)]
    assert max(down) <= CLIENTS / 2, "they come together"
    assert sum(down) <= 5 * CLIENTS
    assert max(count for at, count in world.requests.items() if at >= last) <= CLIENTS / 10
    assert max(finished) < UP_AT + 20
