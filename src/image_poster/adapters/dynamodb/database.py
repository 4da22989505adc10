"""Requests to DynamoDB as values: keys, conditions, writes, queries; and their encoding as
arguments of DynamoDB's API.

`BotoTable` sends them to AWS, and the tests' `FakeTable` applies them in memory. Conditions are on
attributes of one item, and all of them must hold:

    HasValue(name, value)  the attribute has this value
    Has(name)              the attribute exists
    Lacks(name)            the attribute, or the whole item, does not exist

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html

Expressions use a placeholder for each name and value, so no attribute collides with a reserved
word.
"""

import asyncio
import random
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
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


ApiArguments = dict[str, Any]
Attributes = dict[str, dict[str, Any]]


def encoded_value(value: Value) -> dict[str, Any]:
    """Encode a value for DynamoDB."""
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"B": value} if isinstance(value, bytes) else {"S": value}


def encoded_item(item: Mapping[str, Value]) -> Attributes:
    """Encode an item for DynamoDB."""
    return {name: encoded_value(value) for name, value in item.items()}


def encoded_key(key: Key) -> Attributes:
    """Encode a key for DynamoDB."""
    return encoded_item({PK: key.pk, SK: key.sk})


def decoded_item(attributes: Attributes) -> Item:
    """Decode an item from DynamoDB."""
    return {name: _decoded_value(value) for name, value in attributes.items()}


def _decoded_value(encoded: dict[str, Any]) -> Value:
    ((kind, content),) = encoded.items()
    value: Value = int(content) if kind == "N" else content
    return value


class _Placeholders:
    """The placeholders of an expression for names and values."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: Attributes = {}

    def name(self, name: str) -> str:
        placeholder = f"#{name}"
        self.names[placeholder] = name
        return placeholder

    def value(self, value: Value) -> str:
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = encoded_value(value)
        return placeholder

    def arguments(self) -> ApiArguments:
        """The parameters that explain the placeholders; DynamoDB refuses empty ones."""
        explained = {
            "ExpressionAttributeNames": self.names,
            "ExpressionAttributeValues": self.values,
        }
        return {name: content for name, content in explained.items() if content}


def write_arguments(write: Write) -> ApiArguments:
    """The arguments of PutItem, UpdateItem or DeleteItem, without the table's name."""
    placeholders = _Placeholders()
    arguments: ApiArguments = {}
    if isinstance(write, Put):
        arguments["Item"] = encoded_item(write.item)
    else:
        arguments["Key"] = encoded_key(write.key)
    if isinstance(write, Update):
        arguments["UpdateExpression"] = _changes(write, placeholders)
    if write.when:
        arguments["ConditionExpression"] = " AND ".join(_clauses(write.when, placeholders))
        arguments["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {**arguments, **placeholders.arguments()}


def query_arguments(query: Query) -> ApiArguments:
    """The arguments of Query, without the table's name."""
    placeholders = _Placeholders()
    pk, sk = query.names
    condition = f"{placeholders.name(pk)} = {placeholders.value(query.pk)}"
    arguments: ApiArguments = {"ScanIndexForward": query.ascending, "Limit": query.limit}
    if query.prefix:
        # A condition has one comparison of the sort key, so the start is the last key before.
        condition += (
            f" AND begins_with({placeholders.name(sk)}, {placeholders.value(query.prefix)})"
        )
        if query.start is not None:
            arguments["ExclusiveStartKey"] = encoded_item({pk: query.pk, sk: query.start})
    elif query.start is not None:
        comparison = ">" if query.ascending else "<"
        condition += f" AND {placeholders.name(sk)} {comparison} {placeholders.value(query.start)}"
    arguments["KeyConditionExpression"] = condition
    if query.without:
        without = map(Lacks, query.without)
        arguments["FilterExpression"] = " AND ".join(_clauses(without, placeholders))
    if query.on is not None:
        arguments["IndexName"] = query.on
    return {**arguments, **placeholders.arguments()}


def _changes(update: Update, placeholders: _Placeholders) -> str:
    name, value = placeholders.name, placeholders.value
    clauses = {
        "SET": [f"{name(key)} = {value(new)}" for key, new in update.put.items()],
        "ADD": [f"{name(key)} {value(amount)}" for key, amount in update.add.items()],
        "REMOVE": [name(key) for key in update.remove],
    }
    return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts)


def _clauses(conditions: Iterable[Condition], placeholders: _Placeholders) -> Iterator[str]:
    for condition in conditions:
        name = placeholders.name(condition.name)
        if isinstance(condition, HasValue):
            yield f"{name} = {placeholders.value(condition.value)}"
        elif isinstance(condition, Has):
            yield f"attribute_exists({name})"
        else:
            yield f"attribute_not_exists({name})"
