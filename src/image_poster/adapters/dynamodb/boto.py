"""The table by botocore: its operations with their retries, the probe of its writes, reads of
several pages, and waits while the table is busy."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.dynamodb import database, schema
from image_poster.adapters.dynamodb.database import (
    decoded_item,
    encoded_key,
    encoded_value,
    query_arguments,
    write_arguments,
)
from image_poster.domain.errors import BusyError, NotReadyError
from image_poster.domain.signing import Page

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


async def all_items(table: BotoTable, query: database.Query) -> AsyncIterator[database.Item]:
    """All items of a query, page by page; of a table, after every write that returned."""
    start = query.start
    while True:
        page = await table.query(query.starting_at(start), consistent=query.on is None)
        for item in page.items:
            yield item
        if page.next is None:
            return
        start = page.next


async def item_page(table: BotoTable, query: database.Query) -> Page[database.Item, str]:
    """The first `query.limit` items of a query, and the sort key after which the next page starts.
    It reads on where items are left out (`query.without`)."""
    items: list[database.Item] = []
    async for item in all_items(table, query._replace(limit=query.limit + 1)):
        items.append(item)
        if len(items) > query.limit:
            shown = items[: query.limit]
            return Page(shown, str(shown[-1][query.names[1]]))
    return Page(items, None)


def start_key(prefix: str, after: str | None) -> str | None:
    """The start of a query of the sort keys with this prefix, behind the id or name `after`."""
    return None if after is None else f"{prefix}{after}"


async def newest_counted(table: BotoTable, post_id: str, limit: int) -> list[bytes]:
    """The `limit` latest counted comments, newest first, read from the comments' own items."""
    newest: list[bytes] = []
    query = database.Query(
        schema.post_key(post_id).pk,
        2 * limit,
        before=schema.AFTER_COMMENTS,
        without=("deleted_by",),
    )
    async for item in all_items(table, query):
        if item["counted"]:
            newest.append(schema.doc_of(item))
        if len(newest) == limit:
            break
    return newest


# After a pause, each step grows by so many items.
_REGROWTH = 8
# A partition has new units each second.
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 2.0


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
        longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**attempt)
        seconds = random.uniform(longest / 2, longest)  # noqa: S311 - no secret
        self._seconds -= seconds
        await asyncio.sleep(seconds)
