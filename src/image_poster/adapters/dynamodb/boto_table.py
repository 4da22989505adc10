"""`Table` on AWS, by botocore.

Calls block: a Lambda environment serves one request at a time, so nobody else waits for them.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.dynamodb.expressions import (
    Attributes,
    decoded_item,
    encoded_key,
    operation,
    query_words,
    write_words,
)
from image_poster.adapters.dynamodb.table import (
    MOST_IN_BATCH_GET,
    MOST_IN_BATCH_WRITE,
    PK,
    SK,
    ConditionFailedError,
    ConflictError,
    Delete,
    Item,
    Key,
    Page,
    Put,
    Query,
    TransactionRefusedError,
    Write,
)
from image_poster.domain.errors import BusyError

_FIRST_PAUSE_SECONDS = 0.05
_MOST_ROUNDS = 8
# Common errors of the API reference, by name: these pass.
_PASSING = {
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
    """DynamoDB's errors as ours. What is neither passing nor about conditions is a fault of this
    program, and comes out as it is."""
    try:
        yield
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code == "ConditionalCheckFailedException":
            raise ConditionFailedError(_found(exc.response)) from exc
        if code == "TransactionConflictException":
            raise ConflictError from exc
        if code == "TransactionCanceledException":
            raise _refusal(exc.response["CancellationReasons"]) from exc
        if code in _PASSING:
            raise BusyError from exc
        raise
    except BotoCoreError as exc:
        raise BusyError from exc


def _found(reason: dict[str, Any]) -> Item | None:
    return decoded_item(reason["Item"]) if reason.get("Item") else None


def _refusal(reasons: list[dict[str, Any]]) -> Exception:
    codes = {reason["Code"] for reason in reasons} - {"None"}
    if codes - {"ConditionalCheckFailed", "TransactionConflict"}:
        throttled = codes & {"ThrottlingError", "ProvisionedThroughputExceeded"}
        return BusyError() if throttled else RuntimeError(f"transaction cancelled: {reasons}")
    failed = enumerate(reasons)
    return TransactionRefusedError(
        {at: _found(one) for at, one in failed if one["Code"] == "ConditionalCheckFailed"}
    )


class BotoTable:
    """`Table` by a botocore client for DynamoDB."""

    def __init__(self, client: Any, name: str) -> None:  # noqa: ANN401 - botocore makes clients at run time
        self._client = client
        self._name = name

    async def get(self, key: Key, *, consistent: bool = True) -> Item | None:
        with translated():
            answer = self._client.get_item(
                TableName=self._name, Key=encoded_key(key), ConsistentRead=consistent
            )
        return decoded_item(answer["Item"]) if "Item" in answer else None

    async def get_many(self, keys: Sequence[Key]) -> list[Item]:
        found: list[Item] = []
        for at in range(0, len(keys), MOST_IN_BATCH_GET):
            part = [encoded_key(key) for key in keys[at : at + MOST_IN_BATCH_GET]]
            found += self._got({self._name: {"Keys": part, "ConsistentRead": True}})
        return found

    async def write(self, write: Write) -> Item:
        words = {"TableName": self._name, **write_words(write)}
        with translated():
            if isinstance(write, Put):
                self._client.put_item(**words)
                return write.item
            if isinstance(write, Delete):
                self._client.delete_item(**words)
                return {}
            answer = self._client.update_item(**words, ReturnValues="ALL_NEW")
        return decoded_item(answer["Attributes"])

    async def transact(self, writes: Sequence[Write]) -> None:
        items = [
            {operation(write): {"TableName": self._name, **write_words(write)}} for write in writes
        ]
        with translated():
            self._client.transact_write_items(TransactItems=items)

    async def query(self, query: Query, *, consistent: bool = False) -> Page:
        words = {"TableName": self._name, **query_words(query)}
        if consistent:
            words["ConsistentRead"] = True
        with translated():
            answer = self._client.query(**words)
        last = decoded_item(answer.get("LastEvaluatedKey", {}))
        items = [decoded_item(item) for item in answer["Items"]]
        return Page(items, str(last[query.names[1]]) if last else None)

    async def delete_many(self, keys: Sequence[Key]) -> None:
        for at in range(0, len(keys), MOST_IN_BATCH_WRITE):
            part = keys[at : at + MOST_IN_BATCH_WRITE]
            self._batch_write([{"DeleteRequest": {"Key": encoded_key(key)}} for key in part])

    async def scan(self, sk: str, limit: int, after: Key | None) -> tuple[list[Item], Key | None]:
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
        return items, Key(last[PK]["S"], last[SK]["S"]) if last else None

    def _got(self, asked: dict[str, Any]) -> list[Item]:
        found: list[Item] = []
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
    """What a batch left unprocessed is asked again, with exponential back-off (BatchWriteItem)."""
    for attempt in range(_MOST_ROUNDS):
        if attempt:
            time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        yield
