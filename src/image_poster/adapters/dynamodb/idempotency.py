"""Idempotency records, each written in the transaction of the post or comment that it is for."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from image_poster.adapters.dynamodb import database, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.domain.errors import BusyError, GoneError
from image_poster.domain.idempotency import KEPT_MS, AlreadyAnsweredError, IdempotencyRecord
from image_poster.ports import Clock

_MAX_ATTEMPTS = 5


async def put_once(
    table: BotoTable,
    item: database.Item,
    record: IdempotencyRecord | None,
    clock: Clock,
    instead_of: IdempotencyRecord | None = None,
) -> None:
    """Put a new item, and with it the record if there is one. Raises `AlreadyAnsweredError` if the
    record's key was used, unless by `instead_of`. Raises `GoneError` if a deleted account used it,
    `ConditionFailedError` if the item exists, and `BusyError` after five conflicts."""
    put = database.Put(item, (database.Lacks(database.PK),))
    if record is None:
        await table.write(put)
        return
    await _check_not_gone(table, record, clock)
    unused: database.Condition = database.Lacks(database.PK)
    if instead_of is not None:
        unused = database.HasValue("location", instead_of.location)
    item["record"] = schema.record_key(record.user, record.key).sk
    for _ in range(_MAX_ATTEMPTS):
        record_put = database.Put(_record_item(record, clock.now_ms()), (unused,))
        try:
            await table.transact([record_put, put])
        except database.TransactionRefusedError as exc:
            if 0 in exc.items:
                unused = _unused(exc.items[0], clock)
            elif 1 in exc.items:
                raise database.ConditionFailedError(exc.items[1]) from exc
        else:
            return
    raise BusyError


async def record_writes(
    table: BotoTable, record: IdempotencyRecord | None, clock: Clock
) -> list[database.Write]:
    """The write of a record, for the transaction of its request; none without a record. Raises
    `AlreadyAnsweredError` if the key was used, and `GoneError` if a deleted account used it."""
    if record is None:
        return []
    await _check_not_gone(table, record, clock)
    stored = await table.get(schema.record_key(record.user, record.key))
    unused = _unused(stored, clock)
    return [database.Put(_record_item(record, clock.now_ms()), (unused,))]


async def _check_not_gone(table: BotoTable, record: IdempotencyRecord, clock: Clock) -> None:
    """Raises `GoneError` if the key was used by an account of this name that was deleted since. An
    eventually consistent read is enough: a deletion takes minutes."""
    used = await table.get(schema.used_key(record.user, record.key), consistent=False)
    if used is not None and int(used["expires_ms"]) > clock.now_ms():
        raise GoneError


async def delete_logged(
    table: BotoTable,
    deletion: database.Update,
    item: database.Item,
    more: Sequence[database.Write],
) -> None:
    """Write the deletion of a post or comment with this item, remove the text of its idempotency
    record, and write `more`, in one transaction. Raises `WriteRefusedError`."""
    clearing = await live_clearing(table, item)
    try:
        await table.transact([deletion, *clearing, *more])
    except database.TransactionRefusedError as exc:
        if 0 in exc.items:
            raise database.ConditionFailedError(exc.items[0]) from exc
        raise


async def live_clearing(table: BotoTable, item: database.Item) -> list[database.Write]:
    """The write that clears the record of an item, if it has one that has not expired."""
    clearing = _clearing(item)
    if clearing is None:
        return []
    stored = await table.get(clearing.key)
    resource = clearing.when[0]
    assert isinstance(resource, database.HasValue)  # noqa: S101 - for the type checker
    is_live = stored is not None and stored.get("resource") == resource.value
    return [clearing] if is_live else []


async def delete_texts(table: BotoTable, deletion: database.Update) -> None:
    """Write the deletion of a post or comment and, if it has an idempotency record, remove the
    record's text with it. Raises
    `WriteRefusedError`."""
    try:
        await table.write(deletion._replace(when=(*deletion.when, database.Lacks("record"))))
    except database.ConditionFailedError as exc:
        clearing = _clearing(exc.item or {})
        if clearing is None:
            raise
    else:
        return
    try:
        await table.transact([deletion, clearing])
    except database.TransactionRefusedError as exc:
        if 0 in exc.items:
            raise database.ConditionFailedError(exc.items[0]) from exc
        if 1 not in exc.items:
            raise
        await table.write(deletion)  # the record has expired


async def clear_records(table: BotoTable, items: Iterable[database.Item]) -> None:
    """Remove the texts of idempotency records of comments that are purged."""
    for clearing in filter(None, map(_clearing, items)):
        await _clear(table, clearing)


@database.retried
async def _clear(table: BotoTable, clearing: database.Update) -> None:
    with suppress(database.ConditionFailedError):  # the record has expired
        await table.write(clearing)


def _clearing(item: database.Item) -> database.Update | None:
    if "record" not in item:
        return None
    resource = database.HasValue("resource", item.get("id") or schema.comment_id_of(item))
    return database.Update(schema.record_key_of(item), remove=("body",), when=(resource,))


async def check_unused(table: BotoTable, record: IdempotencyRecord | None, clock: Clock) -> None:
    """Raises `AlreadyAnsweredError` if the record's key was used."""
    if record is not None:
        _unused(await table.get(schema.record_key(record.user, record.key)), clock)


def _unused(stored: database.Item | None, clock: Clock) -> database.Condition:
    """The condition for replacing a stored record that has expired: DynamoDB removes expired items
    late. Raises `AlreadyAnsweredError` if it has not expired."""
    if stored is None:
        return database.Lacks(database.PK)
    if int(stored["expires_ms"]) > clock.now_ms():
        raise AlreadyAnsweredError(_record_of(stored))
    return database.HasValue("expires_ms", stored["expires_ms"])


def _record_item(record: IdempotencyRecord, now_ms: int) -> database.Item:
    return schema.keyed(
        schema.record_key(record.user, record.key),
        {
            "user": record.user,
            "key": record.key,
            "fingerprint": record.fingerprint,
            "body": record.body,
            "location": record.location,
            "resource": record.resource,
            "expires_ms": now_ms + KEPT_MS,
            "ttl": schema.ttl_of(now_ms + KEPT_MS),
        },
    )


def _record_of(item: database.Item) -> IdempotencyRecord:
    fingerprint, body = item["fingerprint"], item.get("body", b"")
    assert isinstance(fingerprint, bytes)  # noqa: S101 - for the type checker: it is stored as binary
    assert isinstance(body, bytes)  # noqa: S101
    return IdempotencyRecord(
        str(item["user"]), str(item["key"]), fingerprint, body, location=str(item["location"])
    )


def used_mark(record: database.Item) -> database.Put:
    """The mark that an idempotency key was used, in place of the record of a deleted account."""
    times = {name: record[name] for name in ("expires_ms", "ttl")}
    return database.Put(
        schema.keyed(schema.used_key(str(record["user"]), str(record["key"])), times)
    )
