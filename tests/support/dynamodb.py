"""DynamoDB in memory: a table with a stream, and the event-source mapping that reads it.

`FakeTable` does what AWS documents of conditions, transactions, indexes and streams, and passes the
same suite as the real adapter. Every call gives way once in its middle, so that tasks meet there as
requests do; what meets in a transaction conflicts.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple
from zlib import crc32

from cfnlint.decode.cfn_yaml import load as load_template

from aws_local.stack import TEMPLATE
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.database import (
    MAX_IN_TRANSACTION,
    PK,
    SK,
    ConditionFailedError,
    Conditions,
    ConflictError,
    Delete,
    Has,
    HasValue,
    Item,
    ItemPage,
    Key,
    Lacks,
    Put,
    Query,
    TransactionRefusedError,
    Update,
    Value,
    Write,
    encoded_item,
)
from image_poster.adapters.dynamodb.schema import key_of
from support.filters import STREAM_MAPPING, passes

Record = dict[str, Any]
MOST_ITEM_BYTES = 400 * 1024


class Index(NamedTuple):
    """A secondary index: its two key attributes, and what else its entries have (None: all)."""

    name: str
    pk: str
    sk: str
    projected: frozenset[str] | None

    def entry(self, item: Item | None) -> Item | None:
        """The index's part of an item; nothing of one that lacks a key attribute (sparse)."""
        if item is None or self.pk not in item or self.sk not in item:
            return None
        if self.projected is None:
            return dict(item)
        attributes = {PK, SK, self.pk, self.sk} | self.projected
        return {name: value for name, value in item.items() if name in attributes}

    def place(self, entry: Item) -> tuple[Value, Value]:
        """The position of an entry."""
        return entry[self.pk], entry[self.sk]


@cache
def template_indexes() -> tuple[Index, ...]:
    """Those of the template's table."""
    properties = load_template(str(TEMPLATE))["Resources"]["Table"]["Properties"]
    return tuple(
        Index(
            index["IndexName"],
            index["KeySchema"][0]["AttributeName"],
            index["KeySchema"][1]["AttributeName"],
            None
            if index["Projection"]["ProjectionType"] == "ALL"
            else frozenset(map(str, index["Projection"].get("NonKeyAttributes", ()))),
        )
        for index in properties["GlobalSecondaryIndexes"]
    )


class CrashError(BaseException):
    """The process ends here."""


class FakeTable(BotoTable):
    """`BotoTable` in memory. `calls` counts by operation; `around` is called right before and right
    after each write, and may raise: `CrashError`, or what DynamoDB gives rise to."""

    def __init__(self, indexes: Sequence[Index] | None = None) -> None:
        super().__init__(None, "in memory")
        self.indexes = template_indexes() if indexes is None else indexes
        self.items: dict[Key, Item] = {}
        self.stream: list[Record] = []
        self.calls: Counter[str] = Counter()
        self.conflicts = 0
        self.around: Callable[[], None] = lambda: None
        self._busy: set[Key] = set()

    async def get(self, key: Key, *, consistent: bool = True) -> Item | None:
        del consistent
        self.calls["get"] += 1
        await asyncio.sleep(0)
        item = self.items.get(key)
        return None if item is None else dict(item)

    async def get_many(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Item]:
        del consistent
        self.calls["get_many"] += 1
        await asyncio.sleep(0)
        assert len(set(keys)) == len(keys)
        return [dict(self.items[key]) for key in keys if key in self.items]

    async def write(self, write: Write) -> Item:
        self.calls["write"] += 1
        with self._at([key_of_write(write)]) as free:
            await asyncio.sleep(0)
            if not free:
                raise ConflictError
            self._check(write)
            self.around()
            self._apply(write)
            self.around()
        return dict(self.items.get(key_of_write(write), {}))

    async def transact(self, writes: Sequence[Write]) -> None:
        self.calls["transact"] += 1
        keys = [key_of_write(write) for write in writes]
        assert len(set(keys)) == len(keys), "one item twice in a transaction"
        assert len(writes) <= MAX_IN_TRANSACTION
        with self._at(keys) as free:
            await asyncio.sleep(0)
            if not free:
                raise TransactionRefusedError({})
            self._check_all(writes)
            self.around()
            for write in writes:
                self._apply(write)
            self.around()

    async def query(self, query: Query, *, consistent: bool = False) -> ItemPage:
        self.calls["query"] += 1
        assert not (consistent and query.on), "no consistent reads of a global index"
        await asyncio.sleep(0)
        pk, sk = query.names
        matches = [
            item
            for item in self._entries(query.on)
            if item.get(pk) == query.pk
            and sk in item
            and (query.before is None or str(item[sk]) < query.before)
            and (query.after is None or str(item[sk]) > query.after)
            and str(item[sk]).startswith(query.prefix)
        ]
        assert query.start is None or query.start.startswith(query.prefix)
        matches.sort(key=lambda item: str(item[sk]), reverse=not query.ascending)
        looked_at = matches[: query.limit]
        last = str(looked_at[-1][sk]) if len(looked_at) == query.limit else None
        items = [item for item in looked_at if not set(query.without) & item.keys()]
        return ItemPage([dict(item) for item in items], last)

    def _entries(self, name: str | None) -> Iterator[Item]:
        if name is None:
            yield from self.items.values()
            return
        (index,) = [candidate for candidate in self.indexes if candidate.name == name]
        for item in self.items.values():
            entry = index.entry(item)
            if entry is not None:
                yield entry

    async def delete_many(self, keys: Sequence[Key]) -> None:
        self.calls["delete_many"] += 1
        for key in keys:
            await asyncio.sleep(0)
            self.around()
            self._apply(Delete(key))
            self.around()

    async def scan(self, sk: str, limit: int, after: Key | None) -> tuple[list[Item], Key | None]:
        self.calls["scan"] += 1
        keys = sorted(key for key in self.items if after is None or key > after)[:limit]
        items = [dict(self.items[key]) for key in keys if key.sk == sk]
        return items, keys[-1] if len(keys) == limit else None

    def expire(self, now_seconds: int) -> None:
        """As TTL does, all at once."""
        for key, item in list(self.items.items()):
            if int(item.get("ttl", now_seconds + 1)) <= now_seconds:
                self._apply(Delete(key))

    @contextmanager
    def _at(self, keys: list[Key]) -> Iterator[bool]:
        """True if no other call uses these items now."""
        free = not self._busy & set(keys)
        mine = set(keys) - self._busy
        self._busy |= mine
        self.conflicts += not free
        try:
            yield free
        finally:
            self._busy -= mine

    def _check(self, write: Write) -> None:
        item = self.items.get(key_of_write(write))
        if not _holds(write.when, item):
            raise ConditionFailedError(None if item is None else dict(item))

    def _check_all(self, writes: Sequence[Write]) -> None:
        refused = {}
        for at, write in enumerate(writes):
            try:
                self._check(write)
            except ConditionFailedError as exc:
                refused[at] = exc.item
        if refused:
            raise TransactionRefusedError(refused)

    def _apply(self, write: Write) -> None:
        key = key_of_write(write)
        old = self.items.get(key)
        new = item_after(write, old)
        if new is None:
            self.items.pop(key, None)
        else:
            assert _size(new) <= MOST_ITEM_BYTES
            self.items[key] = new
        self._changed(old, new)
        if new != old:
            self._record(key, old, new)

    def _changed(self, old: Item | None, new: Item | None) -> None:
        """For who counts."""

    def _record(self, key: Key, old: Item | None, new: Item | None) -> None:
        change: dict[str, Any] = {
            "Keys": encoded_item({PK: key.pk, SK: key.sk}),
            "SequenceNumber": f"{len(self.stream):021d}",
        }
        if old is not None:
            change["OldImage"] = encoded_item(old)
        if new is not None:
            change["NewImage"] = encoded_item(new)
        name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
        self.stream.append({"eventName": name, "dynamodb": change})


def key_of_write(write: Write) -> Key:
    """The key that a write changes."""
    return key_of(write.item) if isinstance(write, Put) else write.key


def _holds(conditions: Conditions, stored: Item | None) -> bool:
    item = stored or {}
    for condition in conditions:
        if isinstance(condition, HasValue):
            holds = item.get(condition.name) == condition.value
        elif isinstance(condition, Has):
            holds = condition.name in item
        else:
            assert isinstance(condition, Lacks)
            holds = condition.name not in item
        if not holds:
            return False
    return True


def item_after(write: Write, old: Item | None) -> Item | None:
    """The item that a write leaves; None after a deletion."""
    if isinstance(write, Put):
        return dict(write.item)
    if isinstance(write, Delete):
        return None
    assert isinstance(write, Update)
    new: Item = dict(old) if old is not None else {PK: write.key.pk, SK: write.key.sk}
    new.update(write.put)
    for name, amount in write.add.items():
        new[name] = int(new.get(name, 0)) + amount
    for name in write.remove:
        new.pop(name, None)
    return new


def _size(item: Item) -> int:
    return sum(
        len(name) + (len(value) if isinstance(value, bytes) else len(str(value).encode()))
        for name, value in item.items()
    )


def _is_old(record: Record) -> bool:
    written = record["dynamodb"].get("ApproximateCreationDateTime")
    return written is not None and asyncio.get_running_loop().time() - written > _MAX_AGE_SECONDS


_MAX_AGE_SECONDS = 43_200  # MaximumRecordAgeInSeconds in infra/template.yaml
Handler = Callable[[Record], Awaitable[dict[str, Any]]]


class EventSourceMapping:
    """A stream's event-source mapping as AWS documents it, with everything that may happen.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html and ...-batchfailure

    A batch may be delivered again in whole. A handler that raises has its batch bisected and
    retried. Records that the filters exclude never come. `ReportBatchItemFailures` retries from the
    lowest failed record. `MaximumRetryAttempts` is -1, so a batch is given up only by its age
    (`MaximumRecordAgeInSeconds`), if the table has its time. Items are spread over shards by their
    partition key and sort key, each shard in its own order.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        seed: int,
        shards: int = 3,
        attempts: int = 10_000,
        name: str = STREAM_MAPPING,
    ) -> None:
        """`attempts`: no test needs as many; it ends one whose batch fails for ever."""
        self._handler = handler
        self._passes = partial(passes, name=name)
        self._random = random.Random(seed)
        self._shards = shards
        self._attempts = attempts
        self.parked: list[list[Record]] = []
        self.invocations = 0
        self.delivered = 0

    async def deliver(
        self, records: Sequence[Record], *, batch: int = 10, repeats: float = 0.2
    ) -> None:
        """Deliver all, of different shards in any order."""
        shards: dict[int, list[Record]] = {}
        for record in filter(self._passes, records):
            keys = record["dynamodb"]["Keys"]
            place = crc32(f"{keys[PK]['S']} {keys[SK]['S']}".encode()) % self._shards
            shards.setdefault(place, []).append(record)
        while shards:
            place = self._random.choice(sorted(shards))
            size = self._random.randint(1, batch)
            part, shards[place] = shards[place][:size], shards[place][size:]
            await self._invoke(part, self._attempts)
            if self._random.random() < repeats:
                await self._invoke(part, self._attempts)
            if not shards[place]:
                del shards[place]

    async def _invoke(self, part: list[Record], attempts: int) -> None:
        while part:
            if attempts == 0 or _is_old(part[0]):
                self.parked.append(part)
                return
            attempts -= 1
            self.invocations += 1
            self.delivered += len(part)
            try:
                answer = await self._handler({"Records": part})
            except CrashError:
                half = len(part) // 2
                if half:
                    await self._invoke(part[:half], attempts)
                    part = part[half:]
                continue
            failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
            numbers = [record["dynamodb"]["SequenceNumber"] for record in part]
            part = part[min(map(numbers.index, failed)) :] if failed else []
