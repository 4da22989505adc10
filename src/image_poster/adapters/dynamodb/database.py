"""Requests to DynamoDB as values: keys, conditions, writes, queries.

`BotoTable` sends them to AWS, and the tests' `FakeTable` applies them in memory. Conditions are on
attributes of one item, and all of them must hold:

    HasValue(name, value)  the attribute has this value
    Has(name)              the attribute exists
    Lacks(name)            the attribute, or the whole item, does not exist
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from image_poster.domain.errors import BusyError

PK, SK = "PK", "SK"
Value = str | int | bytes | bool
Item = dict[str, Value]

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
MAX_IN_TRANSACTION = 100
MAX_IN_BATCH_GET = 100
MAX_IN_BATCH_WRITE = 25


class Key(NamedTuple):
    """The key of an item: partition key and sort key."""

    pk: str
    sk: str


class HasValue(NamedTuple):
    """A condition: the attribute has this value."""

    name: str
    value: Value


class Has(NamedTuple):
    """A condition: the attribute exists."""

    name: str


class Lacks(NamedTuple):
    """A condition: the attribute, or the whole item, does not exist."""

    name: str


Condition = HasValue | Has | Lacks
Conditions = tuple[Condition, ...]


def unchanged(item: Item | None) -> Condition:
    """The condition that an item with a `version` is still the same (None: is not there)."""
    return Lacks(PK) if item is None else HasValue("version", item["version"])


class Put(NamedTuple):
    """Replace the whole item."""

    item: Item
    when: Conditions = ()


class Update(NamedTuple):
    """Set, add to, and remove attributes; without conditions it creates a missing item."""

    key: Key
    put: Mapping[str, Value] = {}
    add: Mapping[str, int] = {}
    remove: tuple[str, ...] = ()
    when: Conditions = ()


class Delete(NamedTuple):
    """Remove the item."""

    key: Key
    when: Conditions = ()


Write = Put | Update | Delete


class Query(NamedTuple):
    """Up to `limit` items of one partition, greatest sort key first, or smallest first if
    `ascending`.

    `before`, or `after` of an ascending query, is the exclusive start. `on` names a secondary
    index; `names` are its two key attributes. `without` names attributes that no item of the result
    has. `prefix` is the beginning of all sort keys of the result, and of the start (not on an
    index).
    """

    pk: str
    limit: int
    before: str | None = None
    on: str | None = None
    names: tuple[str, str] = (PK, SK)
    without: tuple[str, ...] = ()
    prefix: str = ""
    ascending: bool = False
    after: str | None = None

    @property
    def start(self) -> str | None:
        """The exclusive start of the result, in its order."""
        return self.after if self.ascending else self.before

    def starting_at(self, position: str | None) -> "Query":
        """The query for the part that begins behind this position."""
        if self.ascending:
            return self._replace(after=position)
        return self._replace(before=position)


class ItemPage(NamedTuple):
    """The items of a query. `next` is the start of the next query, None at the partition's end.
    A query stops at the limit or at 1 MB (Query, "Paginating table query results")."""

    items: list[Item]
    next: str | None


class WriteRefusedError(Exception):
    """Nothing was written, because of an item's state or of a concurrent request."""


class ConditionFailedError(WriteRefusedError):
    """A condition does not hold. `item` is the stored item, or None."""

    def __init__(self, item: Item | None) -> None:
        self.item = item
        super().__init__("a condition does not hold")


class TransactionRefusedError(WriteRefusedError):
    """A transaction was cancelled. `items` has the stored item for each write whose condition
    failed, by the write's index. If it is empty, the transaction only conflicted with another
    request."""

    def __init__(self, items: Mapping[int, Item | None]) -> None:
        self.items = items
        super().__init__("the transaction was cancelled")


class ConflictError(WriteRefusedError):
    """The write conflicted with another transaction on the same item."""


class BackoffBudget:
    """The time that the steps of one task may wait in all, while DynamoDB is busy.

    botocore repeats throttled requests, but no transaction that was cancelled by throttling
    (retries/standard.py). And a partition that refuses a large one may take a smaller one.
    """

    def __init__(self, seconds: float = 20) -> None:
        self._seconds = seconds

    async def work_through(
        self, items: list[str], size: int, step: Callable[[list[str]], Awaitable[int]]
    ) -> None:
        """Take steps of at most `size` items; a step returns how many are done. While DynamoDB is
        busy, wait, halve the size, and go on. Raises `BusyError` if no time is left."""
        most, attempt = size, 0
        while items:
            try:
                done = await step(items[:size])
            except BusyError:
                if self._seconds <= 0:
                    raise
                attempt += 1
                await self._pause(attempt)
                size = max(1, min(size, len(items)) // 2)
            else:
                items, attempt = items[done:], 0
                size = min(most, size + _REGROWTH)

    async def _pause(self, attempt: int) -> None:
        longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempt)
        seconds = random.uniform(longest / 2, longest)  # noqa: S311 - no secret
        self._seconds -= seconds
        await asyncio.sleep(seconds)


# After a pause, each step grows by so many items.
_REGROWTH = 8
# A partition has new units each second.
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_MAX_ATTEMPTS = 12
_FIRST_SECONDS = 0.01
_LONGEST_SECONDS = 0.5
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def attempts() -> AsyncIterator[int]:
    """Yield the attempt's number up to 12 times, with exponential back-off and jitter of up to
    0.5 seconds. Then raises `BusyError`."""
    for attempt in range(_MAX_ATTEMPTS):
        yield attempt
        longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2**attempt)
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - no secret
    raise BusyError


def retried(
    action: Callable[Arguments, Awaitable[Result]],
) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """Decorate an action that reads and then writes: repeat all of it, as `attempts` does, while
    its write is refused."""

    @wraps(action)
    async def repeated(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        async for _ in attempts():
            with suppress(WriteRefusedError):
                return await action(*args, **kwargs)
        raise AssertionError  # `attempts` ends with an error of its own

    return repeated
