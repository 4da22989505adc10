"""A table that throttles, in simulated time.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html

A partition takes 1,000 write units a second. Unused units of the last five minutes, and adaptive
capacity, would help; here there is neither, which is the worst case. A request that a partition
cannot afford is refused and costs nothing. Any other costs its units, also if a condition fails.
"""

import asyncio
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from image_poster.adapters.dynamodb.database import Delete, Item, Key, Write
from image_poster.domain.errors import BusyError
from support.dynamodb import FakeTable, item_after, key_of_write
from support.prices import index_units, item_bytes, write_units

PARTITION_UNITS = 1000.0  # a second (DynamoDB quotas)
_CALL_SECONDS, _TRANSACTION_SECONDS = 0.005, 0.01
_ROUNDS = 8  # of `BotoTable.delete_many`
Result = TypeVar("Result")


class _Waiting(selectors.SelectSelector):
    """Waits for nothing: it moves the loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += max(0.0, timeout or 0.0)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next task that is due. Sleeping takes no real time."""

    def __init__(self) -> None:
        self._waiting = _Waiting()
        super().__init__(self._waiting)

    def time(self) -> float:
        return self._waiting.now


def run_simulated(story: Callable[[], Awaitable[Result]]) -> Result:
    """Run a story in simulated time."""

    async def told() -> Result:
        return await story()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(told())


async def patiently(request: Callable[[], Awaitable[Result]]) -> Result:
    """Repeat a request a second later while it is refused, as a client does after a 503."""
    while True:
        try:
            return await request()
        except BusyError:
            await asyncio.sleep(1)


class _Partition(NamedTuple):
    """A partition of the table (no index) or of an index."""

    on: str
    key: str


class ThrottledTable(FakeTable):
    """`FakeTable` whose partitions take `units` of writes a second each. `refused` counts refused
    requests; `seconds` scales the time that a call takes."""

    def __init__(self, units: float = PARTITION_UNITS, *, seconds: float = 0.0) -> None:
        super().__init__()
        self.units = units
        self.refused = 0
        self._seconds = seconds
        self._left: dict[_Partition, tuple[float, float]] = {}

    async def write(self, write: Write) -> Item:
        await asyncio.sleep(self._seconds * _CALL_SECONDS)
        self._admit([write])
        return await super().write(write)

    async def transact(self, writes: Sequence[Write]) -> None:
        await asyncio.sleep(self._seconds * _TRANSACTION_SECONDS)
        self._admit(writes, times=2)
        await super().transact(writes)

    async def delete_many(self, keys: Sequence[Key]) -> None:
        for key in keys:
            await self._admit_deletion(key)
            await super().delete_many([key])

    async def _admit_deletion(self, key: Key) -> None:
        """As `BotoTable.delete_many` repeats unprocessed items."""
        for attempt in range(_ROUNDS - 1):
            try:
                return self._admit([Delete(key)])
            except BusyError:
                await asyncio.sleep(0.05 * 2**attempt)
        return self._admit([Delete(key)])

    def _admit(self, writes: Sequence[Write], *, times: int = 1) -> None:
        """Take the units of a request from its partitions. Raises `BusyError` if one lacks them."""
        now, costs = asyncio.get_running_loop().time(), Counter[_Partition]()
        for write in writes:
            costs.update(dict(self._costs(write, times)))
        left = {partition: self._refilled(partition, now) for partition in costs}
        if any(left[partition] < cost for partition, cost in costs.items()):
            self.refused += 1
            raise BusyError
        for partition, cost in costs.items():
            self._left[partition] = (left[partition] - cost, now)

    def _refilled(self, partition: _Partition, now: float) -> float:
        units, at = self._left.get(partition, (self.units, now))
        return min(self.units, units + (now - at) * self.units)

    def _costs(self, write: Write, times: int) -> Iterator[tuple[_Partition, int]]:
        key = key_of_write(write)
        old = self.items.get(key)
        new = item_after(write, old)
        size = max(item_bytes(item or {}) for item in (old, new))
        yield _Partition("", key.pk), times * write_units(size)
        for index in self.indexes:
            units = index_units(index, old, new)
            entry = index.entry(new) or index.entry(old)
            if units and entry is not None:
                yield _Partition(index.name, str(entry[index.pk])), units

    def _record(self, key: Key, old: Item | None, new: Item | None) -> None:
        super()._record(key, old, new)
        change: dict[str, Any] = self.stream[-1]["dynamodb"]
        change["ApproximateCreationDateTime"] = asyncio.get_running_loop().time()
