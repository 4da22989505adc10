"""The table by botocore: keys, writes, conditions and queries as arguments of DynamoDB's API.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html

Expressions use a placeholder for each name and value, so no attribute collides with a reserved
word.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.dynamodb import database, schema
from image_poster.domain.errors import BusyError, NotReadyError

Arguments = dict[str, Any]
Attributes = dict[str, dict[str, Any]]


def encoded_value(value: database.Value) -> dict[str, Any]:
    """Encode a value for DynamoDB."""
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"B": value} if isinstance(value, bytes) else {"S": value}


def encoded_item(item: Mapping[str, database.Value]) -> Attributes:
    """Encode an item for DynamoDB."""
    return {name: encoded_value(value) for name, value in item.items()}


def encoded_key(key: database.Key) -> Attributes:
    """Encode a key for DynamoDB."""
    return encoded_item({database.PK: key.pk, database.SK: key.sk})


def decoded_item(attributes: Attributes) -> database.Item:
    """Decode an item from DynamoDB."""
    return {name: _decoded_value(value) for name, value in attributes.items()}


def _decoded_value(encoded: dict[str, Any]) -> database.Value:
    ((kind, content),) = encoded.items()
    value: database.Value = int(content) if kind == "N" else content
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

    def value(self, value: database.Value) -> str:
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = encoded_value(value)
        return placeholder

    def arguments(self) -> Arguments:
        """The parameters that explain the placeholders; DynamoDB refuses empty ones."""
        explained = {
            "ExpressionAttributeNames": self.names,
            "ExpressionAttributeValues": self.values,
        }
        return {name: content for name, content in explained.items() if content}


def write_arguments(write: database.Write) -> Arguments:
    """The arguments of PutItem, UpdateItem or DeleteItem, without the table's name."""
    placeholders = _Placeholders()
    arguments: Arguments = {}
    if isinstance(write, database.Put):
        arguments["Item"] = encoded_item(write.item)
    else:
        arguments["Key"] = encoded_key(write.key)
    if isinstance(write, database.Update):
        arguments["UpdateExpression"] = _changes(write, placeholders)
    if write.when:
        arguments["ConditionExpression"] = " AND ".join(_clauses(write.when, placeholders))
        arguments["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {**arguments, **placeholders.arguments()}


def query_arguments(query: database.Query) -> Arguments:
    """The arguments of Query, without the table's name."""
    placeholders = _Placeholders()
    pk, sk = query.names
    condition = f"{placeholders.name(pk)} = {placeholders.value(query.pk)}"
    arguments: Arguments = {"ScanIndexForward": query.ascending, "Limit": query.limit}
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
        without = map(database.Lacks, query.without)
        arguments["FilterExpression"] = " AND ".join(_clauses(without, placeholders))
    if query.on is not None:
        arguments["IndexName"] = query.on
    return {**arguments, **placeholders.arguments()}


def _changes(update: database.Update, placeholders: _Placeholders) -> str:
    name, value = placeholders.name, placeholders.value
    clauses = {
        "SET": [f"{name(key)} = {value(new)}" for key, new in update.put.items()],
        "ADD": [f"{name(key)} {value(amount)}" for key, amount in update.add.items()],
        "REMOVE": [name(key) for key in update.remove],
    }
    return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts)


def _clauses(
    conditions: Iterable[database.Condition], placeholders: _Placeholders
) -> Iterator[str]:
    for condition in conditions:
        name = placeholders.name(condition.name)
        if isinstance(condition, database.HasValue):
            yield f"{name} = {placeholders.value(condition.value)}"
        elif isinstance(condition, database.Has):
            yield f"attribute_exists({name})"
        else:
            yield f"attribute_not_exists({name})"


_FIRST_PAUSE_SECONDS = 0.05
_MAX_ROUNDS = 8
# Transient errors of the API reference ("Common Errors"), by name.
_TRANSIENT = {
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionInProgressException",
}


@contextmanager
def translated() -> Iterator[None]:
    """Translate DynamoDB's transient errors to `BusyError`, and failed conditions to the errors of
    `database`. Any other error is a bug of this program and is raised unchanged."""
    try:
        yield
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code == "ConditionalCheckFailedException":
            raise database.ConditionFailedError(_stored_item(exc.response)) from exc
        if code == "TransactionConflictException":
            raise database.ConflictError from exc
        if code == "TransactionCanceledException":
            raise _refusal(exc.response["CancellationReasons"]) from exc
        if code in _TRANSIENT:
            raise BusyError from exc
        raise
    except BotoCoreError as exc:
        raise BusyError from exc


def _stored_item(reason: dict[str, Any]) -> database.Item | None:
    return decoded_item(reason["Item"]) if reason.get("Item") else None


def _refusal(reasons: list[dict[str, Any]]) -> Exception:
    codes = {reason["Code"] for reason in reasons} - {"None"}
    if codes - {"ConditionalCheckFailed", "TransactionConflict"}:
        throttled = codes & {"ThrottlingError", "ProvisionedThroughputExceeded"}
        return BusyError() if throttled else RuntimeError(f"transaction cancelled: {reasons}")
    return database.TransactionRefusedError(
        {
            index: _stored_item(reason)
            for index, reason in enumerate(reasons)
            if reason["Code"] == "ConditionalCheckFailed"
        }
    )


class BotoTable:
    """One DynamoDB table. Raises `BusyError` when DynamoDB throttles or cannot be reached."""

    def __init__(self, client: Any, name: str) -> None:  # noqa: ANN401 - botocore makes clients at run time
        self._client = client
        self._name = name

    async def get(self, key: database.Key, *, consistent: bool = True) -> database.Item | None:
        answer = self._on_table("get_item", Key=encoded_key(key), ConsistentRead=consistent)
        return decoded_item(answer["Item"]) if "Item" in answer else None

    async def get_many(
        self, keys: Sequence[database.Key], *, consistent: bool = True
    ) -> list[database.Item]:
        """Read the items that exist, in no order."""
        items: list[database.Item] = []
        for at in range(0, len(keys), database.MAX_IN_BATCH_GET):
            part = [encoded_key(key) for key in keys[at : at + database.MAX_IN_BATCH_GET]]
            remaining = {self._name: {"Keys": part, "ConsistentRead": consistent}}
            pauses = _pauses()
            while remaining:
                next(pauses)
                answer = self._call("batch_get_item", RequestItems=remaining)
                items += map(decoded_item, answer["Responses"].get(self._name, ()))
                remaining = answer.get("UnprocessedKeys", {})
        return items

    async def write(self, write: database.Write) -> database.Item:
        """Write one item. Returns the new item (empty after a deletion). Raises
        `ConditionFailedError` and `ConflictError`."""
        arguments = write_arguments(write)
        if isinstance(write, database.Put):
            self._on_table("put_item", **arguments)
            return write.item
        if isinstance(write, database.Delete):
            self._on_table("delete_item", **arguments)
            return {}
        answer = self._on_table("update_item", **arguments, ReturnValues="ALL_NEW")
        return decoded_item(answer["Attributes"])

    async def transact(self, writes: Sequence[database.Write]) -> None:
        """Write all or nothing, at most `MAX_IN_TRANSACTION`. Raises `TransactionRefusedError`."""
        # `Put`, `Update` and `Delete` are the names of these operations in a transaction too.
        items = [
            {type(write).__name__: {"TableName": self._name, **write_arguments(write)}}
            for write in writes
        ]
        self._call("transact_write_items", TransactItems=items)

    async def query(self, query: database.Query, *, consistent: bool = False) -> database.ItemPage:
        consistency = {"ConsistentRead": True} if consistent else {}
        answer = self._on_table("query", **query_arguments(query), **consistency)
        last = decoded_item(answer.get("LastEvaluatedKey", {}))
        items = [decoded_item(item) for item in answer["Items"]]
        return database.ItemPage(items, str(last[query.names[1]]) if last else None)

    async def delete_many(self, keys: Sequence[database.Key]) -> None:
        """Delete items, in no order. A missing item is no error."""
        for at in range(0, len(keys), database.MAX_IN_BATCH_WRITE):
            part = keys[at : at + database.MAX_IN_BATCH_WRITE]
            remaining = [{"DeleteRequest": {"Key": encoded_key(key)}} for key in part]
            pauses = _pauses()
            while remaining:
                next(pauses)
                answer = self._call("batch_write_item", RequestItems={self._name: remaining})
                remaining = answer.get("UnprocessedItems", {}).get(self._name, [])

    async def scan(
        self, sk: str, limit: int, after: database.Key | None
    ) -> tuple[list[database.Item], database.Key | None]:
        """Scan up to `limit` items of the whole table after the key `after`. Returns those with
        this sort key, and the next `after` (None at the end)."""
        answer = self._on_table(
            "scan",
            Limit=limit,
            FilterExpression="SK = :sk",
            ExpressionAttributeValues={":sk": encoded_value(sk)},
            **({} if after is None else {"ExclusiveStartKey": encoded_key(after)}),
        )
        last = decoded_item(answer.get("LastEvaluatedKey", {}))
        following = database.Key(str(last[database.PK]), str(last[database.SK])) if last else None
        return [decoded_item(item) for item in answer["Items"]], following

    def _on_table(self, operation: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - botocore's
        return self._call(operation, TableName=self._name, **arguments)

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - botocore's
        with translated():
            answer: dict[str, Any] = getattr(self._client, operation)(**arguments)
        return answer


def _pauses() -> Iterator[None]:
    """Yield for each attempt at a batch's unprocessed items, with exponential back-off between
    attempts (BatchWriteItem). Then raises `BusyError`."""
    yield
    for attempt in range(_MAX_ROUNDS - 1):
        time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
        yield
    raise BusyError


_PROBE_SECONDS = 1.0
# Most processes write an item of their own: one item takes 1,000 writes a second.
_PROBES = 64


class DynamoWriteProbe:
    """Checks that the table accepts writes, by writing one item, as a comment is one item. Each
    process writes it at most once a second; all callers within that second share the result.
    `now` returns seconds."""

    def __init__(self, table: BotoTable, now: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._now = now
        self._key = schema.probe_key(secrets.randbelow(_PROBES))
        self._checked_at: float | None = None
        self._refusal: Exception | None = None

    async def check(self) -> None:
        """Raises `NotReadyError` if the table does not accept writes."""
        now = self._now()
        if self._checked_at is None or now - self._checked_at >= _PROBE_SECONDS:
            self._refusal = await self._write_probe()
            self._checked_at = now
        if self._refusal is not None:
            raise NotReadyError from self._refusal

    async def _write_probe(self) -> Exception | None:
        """Write the item. Returns the error, also that of a missing table or permission."""
        probe = database.Update(self._key, put={"at_ms": time.time_ns() // 1_000_000})
        try:
            await self._table.write(probe)
        except database.ConflictError:
            return None  # another process wrote it
        except (BusyError, ClientError) as exc:
            return exc
        return None
