"""DynamoDB's capacity units, as AWS documents them, on a table in memory.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html and
.../CapacityUnitCalculations.html (sizes)

A read is 4 KB, half of one if it may be a moment old; a write is 1 KB. Both round up, an item or
(Query, Scan) a page at a time. A transaction costs twice. A read of nothing and a write that a
condition refused are paid for.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html, "Provisioned throughput
considerations"

An entry that comes, goes or changes is one write of its size. One whose key changes is two.
Attributes that are not projected cost nothing.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from image_poster.adapters.dynamodb.database import (
    PK,
    SK,
    ConditionFailedError,
    Item,
    ItemPage,
    Key,
    Query,
    TransactionRefusedError,
    Value,
    Write,
)
from support.dynamodb import FakeTable, Index, key_of_write

_KB = 1024


class Units(NamedTuple):
    """Of reads and of writes."""

    reads: float
    writes: float


def item_bytes(item: Item) -> int:
    """Names and values: text in UTF-8, two digits of a number a byte and one more, a flag one."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Value) -> int:
    if isinstance(value, bool):
        return 1
    if isinstance(value, int):
        return (len(str(abs(value))) + 1) // 2 + 1
    return len(value) if isinstance(value, bytes) else len(value.encode())


def write_units(size: int) -> int:
    """Of one item."""
    return max(1, -(-size // _KB))


def read_units(size: int, *, consistent: bool) -> float:
    """Of one item, or of all that a query looked at."""
    return max(1, -(-size // (4 * _KB))) * (1 if consistent else 0.5)


def index_units(index: Index, old: Item | None, new: Item | None) -> int:
    """The units that a change of an item costs in one index."""
    before, after = index.entry(old), index.entry(new)
    if before == after:
        return 0
    sizes = [item_bytes(item) for item in (before, after) if item is not None]
    same_place = (
        before is not None and after is not None and index.place(before) == index.place(after)
    )
    if same_place:
        return write_units(max(sizes))
    return sum(map(write_units, sizes))


class PricedTable(FakeTable):
    """`FakeTable` that counts what each call would cost."""

    def __init__(self, indexes: Sequence[Index] | None = None) -> None:
        super().__init__(indexes)
        self.reads = 0.0
        self.writes = 0.0
        self._times = 1

    def spent(self) -> Units:
        """Since it was last asked."""
        units = Units(self.reads, self.writes)
        self.reads = self.writes = 0.0
        return units

    async def get(self, key: Key, *, consistent: bool = True) -> Item | None:
        item = await super().get(key, consistent=consistent)
        self.reads += read_units(item_bytes(item or {}), consistent=consistent)
        return item

    async def get_many(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Item]:
        items = await super().get_many(keys, consistent=consistent)
        missing: Iterable[Item] = ({},) * (len(keys) - len(items))
        for item in (*items, *missing):
            self.reads += read_units(item_bytes(item), consistent=consistent)
        return items

    async def query(self, query: Query, *, consistent: bool = False) -> ItemPage:
        page = await super().query(query, consistent=consistent)
        looked_at = await super().query(query._replace(without=()), consistent=consistent)
        size = sum(map(item_bytes, looked_at.items))
        self.reads += read_units(size, consistent=consistent)
        return page

    async def scan(self, sk: str, limit: int, after: Key | None) -> tuple[list[Item], Key | None]:
        page = await super().scan(sk, limit, after)
        keys = sorted(key for key in self.items if after is None or key > after)[:limit]
        self.reads += read_units(sum(item_bytes(self.items[key]) for key in keys), consistent=False)
        return page

    async def write(self, write: Write) -> Item:
        try:
            return await super().write(write)
        except ConditionFailedError as exc:
            self.writes += write_units(item_bytes(exc.item or {}))
            raise

    async def transact(self, writes: Sequence[Write]) -> None:
        self._times = 2
        try:
            await super().transact(writes)
        except TransactionRefusedError:
            items = [self.items.get(key_of_write(write), {}) for write in writes]
            self.writes += 2 * sum(write_units(item_bytes(item)) for item in items)
            raise
        finally:
            self._times = 1

    def _changed(self, old: Item | None, new: Item | None) -> None:
        """The larger of an item before and after (UpdateItem)."""
        size = max(item_bytes(item or {}) for item in (old, new))
        self.writes += self._times * write_units(size)
        self.writes += sum(index_units(index, old, new) for index in self.indexes)


__all__ = [
    "PK",
    "SK",
    "PricedTable",
    "Units",
    "index_units",
    "item_bytes",
    "read_units",
    "write_units",
]
