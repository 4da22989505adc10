"""`Table` by botocore: keys, writes, conditions and queries as arguments of DynamoDB's API.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html

Expressions use a placeholder for each name and value, so no attribute collides with a reserved
word.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.dynamodb import database
from image_poster.domain.errors import BusyError

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


def _decoded_value(value: dict[str, Any]) -> database.Value:
    ((kind, content),) = value.items()
    if kind == "N":
        return int(content)
    found: database.Value = content
    return found


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

    def words(self) -> Arguments:
        found: Arguments = {}
        if self.names:
            found["ExpressionAttributeNames"] = self.names
        if self.values:
            found["ExpressionAttributeValues"] = self.values
        return found


def write_arguments(write: database.Write) -> Arguments:
    """The arguments of PutItem, UpdateItem or DeleteItem, without the table's name."""
    place = _Placeholders()
    words: Arguments = {}
    if isinstance(write, database.Put):
        words["Item"] = encoded_item(write.item)
    else:
        words["Key"] = encoded_key(write.key)
    if isinstance(write, database.Update):
        words["UpdateExpression"] = _changes(write, place)
    if write.when:
        words["ConditionExpression"] = _condition(write.when, place)
        words["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {**words, **place.words()}


def operation(write: database.Write) -> str:
    """The name of the write's operation in a transaction."""
    return {database.Put: "Put", database.Update: "Update", database.Delete: "Delete"}[type(write)]


def query_arguments(query: database.Query) -> Arguments:
    """The arguments of Query, without the table's name."""
    place = _Placeholders()
    pk, sk = query.names
    condition = f"{place.name(pk)} = {place.value(query.pk)}"
    if query.before is not None:
        condition += f" AND {place.name(sk)} < {place.value(query.before)}"
    words: Arguments = {
        "KeyConditionExpression": condition,
        "ScanIndexForward": False,
        "Limit": query.limit,
    }
    if query.without:
        words["FilterExpression"] = " AND ".join(
            f"attribute_not_exists({place.name(name)})" for name in query.without
        )
    if query.on is not None:
        words["IndexName"] = query.on
    return {**words, **place.words()}


def _changes(update: database.Update, place: _Placeholders) -> str:
    clauses = {
        "SET": [f"{place.name(name)} = {place.value(v)}" for name, v in update.put.items()],
        "ADD": [f"{place.name(name)} {place.value(v)}" for name, v in update.add.items()],
        "REMOVE": [place.name(name) for name in update.remove],
    }
    return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts)


def _condition(conditions: database.Conditions, place: _Placeholders) -> str:
    return " AND ".join(_clauses(conditions, place))


def _clauses(conditions: database.Conditions, place: _Placeholders) -> Iterable[str]:
    for condition in conditions:
        name = place.name(condition.name)
        if isinstance(condition, database.Is):
            yield f"{name} = {place.value(condition.value)}"
        elif isinstance(condition, database.Exists):
            yield f"attribute_exists({name})"
        else:
            yield f"attribute_not_exists({name})"


_FIRST_PAUSE_SECONDS = 0.05
_MAX_ROUNDS = 8
# Common errors of the API reference, by name: these pass.
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
            raise database.ConditionFailedError(_found(exc.response)) from exc
        if code == "TransactionConflictException":
            raise database.ConflictError from exc
        if code == "TransactionCanceledException":
            raise _refusal(exc.response["CancellationReasons"]) from exc
        if code in _TRANSIENT:
            raise BusyError from exc
        raise
    except BotoCoreError as exc:
        raise BusyError from exc


def _found(reason: dict[str, Any]) -> database.Item | None:
    return decoded_item(reason["Item"]) if reason.get("Item") else None


def _refusal(reasons: list[dict[str, Any]]) -> Exception:
    codes = {reason["Code"] for reason in reasons} - {"None"}
    if codes - {"ConditionalCheckFailed", "TransactionConflict"}:
        throttled = codes & {"ThrottlingError", "ProvisionedThroughputExceeded"}
        return BusyError() if throttled else RuntimeError(f"transaction cancelled: {reasons}")
    failed = enumerate(reasons)
    return database.TransactionRefusedError(
        {at: _found(one) for at, one in failed if one["Code"] == "ConditionalCheckFailed"}
    )


class BotoTable:
    """`Table` by a botocore client for DynamoDB."""

    def __init__(self, client: Any, name: str) -> None:  # noqa: ANN401 - botocore makes clients at run time
        self._client = client
        self._name = name

    async def get(self, key: database.Key, *, consistent: bool = True) -> database.Item | None:
        with translated():
            answer = self._client.get_item(
                TableName=self._name, Key=encoded_key(key), ConsistentRead=consistent
            )
        return decoded_item(answer["Item"]) if "Item" in answer else None

    async def get_many(
        self, keys: Sequence[database.Key], *, consistent: bool = True
    ) -> list[database.Item]:
        found: list[database.Item] = []
        for at in range(0, len(keys), database.MAX_IN_BATCH_GET):
            part = [encoded_key(key) for key in keys[at : at + database.MAX_IN_BATCH_GET]]
            found += self._got({self._name: {"Keys": part, "ConsistentRead": consistent}})
        return found

    async def write(self, write: database.Write) -> database.Item:
        words = {"TableName": self._name, **write_arguments(write)}
        with translated():
            if isinstance(write, database.Put):
                self._client.put_item(**words)
                return write.item
            if isinstance(write, database.Delete):
                self._client.delete_item(**words)
                return {}
            answer = self._client.update_item(**words, ReturnValues="ALL_NEW")
        return decoded_item(answer["Attributes"])

    async def transact(self, writes: Sequence[database.Write]) -> None:
        items = [
            {operation(write): {"TableName": self._name, **write_arguments(write)}}
            for write in writes
        ]
        with translated():
            self._client.transact_write_items(TransactItems=items)

    async def query(self, query: database.Query, *, consistent: bool = False) -> database.Page:
        words = {"TableName": self._name, **query_arguments(query)}
        if consistent:
            words["ConsistentRead"] = True
        with translated():
            answer = self._client.query(**words)
        last = decoded_item(answer.get("LastEvaluatedKey", {}))
        items = [decoded_item(item) for item in answer["Items"]]
        return database.Page(items, str(last[query.names[1]]) if last else None)

    async def delete_many(self, keys: Sequence[database.Key]) -> None:
        for at in range(0, len(keys), database.MAX_IN_BATCH_WRITE):
            part = keys[at : at + database.MAX_IN_BATCH_WRITE]
            self._batch_write([{"DeleteRequest": {"Key": encoded_key(key)}} for key in part])

    async def scan(
        self, sk: str, limit: int, after: database.Key | None
    ) -> tuple[list[database.Item], database.Key | None]:
        words: dict[str, Any] = {} if after is None else {"ExclusiveStartKey": encoded_key(after)}
        with translated():
            answer = self._client.scan(
                TableName=self._name,
                Limit=limit,
                FilterExpression="SK = :sk",
                ExpressionAttributeValues={":sk": {"S": sk}},
                **words,
            )
        last = answer.get("LastEvaluatedKey")
        items = [decoded_item(item) for item in answer["Items"]]
        return items, database.Key(last[database.PK]["S"], last[database.SK]["S"]) if last else None

    def _got(self, asked: dict[str, Any]) -> list[database.Item]:
        found: list[database.Item] = []
        for _ in _rounds():
            with translated():
                answer = self._client.batch_get_item(RequestItems=asked)
            items: list[Attributes] = answer["Responses"].get(self._name, [])
            found += [decoded_item(item) for item in items]
            asked = answer.get("UnprocessedKeys", {})
            if not asked:
                return found
        raise BusyError

    def _batch_write(self, requests: list[dict[str, Any]]) -> None:
        for _ in _rounds():
            with translated():
                answer = self._client.batch_write_item(RequestItems={self._name: requests})
            requests = answer.get("UnprocessedItems", {}).get(self._name, [])
            if not requests:
                return
        raise BusyError


def _rounds() -> Iterator[None]:
    """Yield for each attempt at a batch's unprocessed items, with exponential back-off between
    attempts (BatchWriteItem)."""
    for attempt in range(_MAX_ROUNDS):
        if attempt:
            time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        yield
