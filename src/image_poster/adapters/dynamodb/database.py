"""What we ask of DynamoDB, as values: keys, conditions, writes, queries.

`Table` is the seam: `BotoTable` sends these to AWS, and the tests' `FakeTable` carries them out in
memory. Conditions are in terms of one item's attributes, all of which must hold:

    Is(name, value)      the attribute has this value
    Exists(name)         it is there
    Missing(name)        it is not
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from image_poster.domain.errors import BusyError

PK, SK = "PK", "SK"
Value = str | int | bytes | bool
Item = dict[str, Value]

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
MAX_IN_TRANSACTION = 100
MAX_IN_BATCH_GET = 100
MAX_IN_BATCH_WRITE = 25


class Key(NamedTuple):
    """Where an item is."""

    pk: str
    sk: str


class Is(NamedTuple):
    """The attribute has this value."""

    name: str
    value: Value


class Exists(NamedTuple):
    """The attribute is there."""

    name: str


class Missing(NamedTuple):
    """The attribute, or the whole item, is not there."""

    name: str


Condition = Is | Exists | Missing
Conditions = tuple[Condition, ...]


class Put(NamedTuple):
    """Replace the whole item."""

    item: Item
    when: Conditions = ()


class Update(NamedTuple):
    """Set, add to, and remove attributes; without conditions it makes the item if need be."""

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
    """Items of one partition, greatest sort key first, up to `limit` of them.

    `before` is exclusive. `on` names a secondary index; `names` are its two key attributes.
    """

    pk: str
    limit: int
    before: str | None = None
    on: str | None = None
    names: tuple[str, str] = (PK, SK)
    without: tuple[str, ...] = ()


class Page(NamedTuple):
    """What a query found, and the `before` to go on with if it stopped before the partition's end:
    at the limit, or at 1 MB (Query, "Paginating table query results")."""

    items: list[Item]
    next: str | None


class ConditionFailedError(Exception):
    """A condition does not hold; nothing was written. `item` is what is there (None: nothing)."""

    def __init__(self, item: Item | None) -> None:
        self.item = item
        super().__init__("a condition does not hold")


class TransactionRefusedError(Exception):
    """A transaction was cancelled; nothing was written. `found` has the item for each write whose
    condition failed, by the write's place; what is missing there only conflicted with another
    request, and may be tried again."""

    def __init__(self, found: Mapping[int, Item | None]) -> None:
        self.found = found
        super().__init__("the transaction was cancelled")


class ConflictError(Exception):
    """Another transaction was at the same item just now; nothing was written."""


class Table(Protocol):
    """One DynamoDB table. Raises `BusyError` when DynamoDB throttles or cannot be reached."""

    async def get(self, key: Key, *, consistent: bool = True) -> Item | None:
        """One item."""
        ...

    async def get_many(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Item]:
        """Those of the items that are there, in no order."""
        ...

    async def write(self, write: Write) -> Item:
        """Write one item; the item as it is now (empty after a deletion). Raises
        `ConditionFailedError` and `ConflictError`."""
        ...

    async def transact(self, writes: Sequence[Write]) -> None:
        """All or nothing, at most `MAX_IN_TRANSACTION`. Raises `TransactionRefusedError`."""
        ...

    async def query(self, query: Query, *, consistent: bool = False) -> Page:
        """One page."""
        ...

    async def delete_many(self, keys: Sequence[Key]) -> None:
        """Remove items, whether or not they are there, without any order among them."""
        ...

    async def scan(self, sk: str, limit: int, after: Key | None) -> tuple[list[Item], Key | None]:
        """Look at up to `limit` items of the whole table; those of them with this sort key, and
        where to go on (None: the end)."""
        ...


_MAX_ATTEMPTS = 12
_FIRST_SECONDS = 0.01
_LONGEST_SECONDS = 0.5


async def attempts() -> AsyncIterator[int]:
    """A number of attempts, with growing pauses of random length between them, since who meets once
    should not meet again; then `BusyError`."""
    for attempt in range(_MAX_ATTEMPTS):
        yield attempt
        longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2**attempt)
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - no secret
    raise BusyError
