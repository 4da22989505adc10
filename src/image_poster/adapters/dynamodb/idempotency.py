"""Idempotency records, each written in the transaction of the post or comment that it is for."""

from collections.abc import Iterable

from image_poster.adapters.dynamodb import database
from image_poster.adapters.dynamodb.schema import (
    comment_id_of,
    record_item,
    record_key,
    record_key_of,
    record_of,
)
from image_poster.domain.errors import BusyError
from image_poster.domain.idempotency import AlreadyAnsweredError, IdempotencyRecord
from image_poster.ports.clock import Clock

_MAX_ATTEMPTS = 5


async def put_once(
    table: database.Table,
    put: database.Put,
    record: IdempotencyRecord | None,
    clock: Clock,
    instead_of: IdempotencyRecord | None = None,
) -> None:
    """Put an item, and with it the record if there is one. Raises `AlreadyAnsweredError` if the
    record's key was used, unless by `instead_of`. Raises `ConditionFailedError` if the put's own
    condition does not hold, and `BusyError` after five conflicts."""
    if record is None:
        await table.write(put)
        return
    free: database.Condition = database.Missing(database.PK)
    if instead_of is not None:
        free = database.Is("location", instead_of.location)
    put.item["record"] = record_key(record.user, record.key).sk
    for _ in range(_MAX_ATTEMPTS):
        kept = database.Put(record_item(record, clock.now_ms()), (free,))
        try:
            await table.transact([kept, put])
        except database.TransactionRefusedError as exc:
            if 0 in exc.found:
                free = _unused(exc.found[0], clock)
            elif 1 in exc.found:
                raise database.ConditionFailedError(exc.found[1]) from exc
        else:
            return
    raise BusyError


async def delete_texts(table: database.Table, deletion: database.Update) -> None:
    """Write the deletion of a post or comment and, if it has an idempotency record, remove the
    record's text with it. Raises `ConditionFailedError` and `ConflictError`."""
    try:
        await table.write(deletion._replace(when=(*deletion.when, database.Missing("record"))))
    except database.ConditionFailedError as exc:
        clearing = _clearing(exc.item or {})
        if clearing is None:
            raise
    else:
        return
    try:
        await table.transact([deletion, clearing])
    except database.TransactionRefusedError as exc:
        if 0 in exc.found:
            raise database.ConditionFailedError(exc.found[0]) from exc
        if 1 not in exc.found:
            raise database.ConflictError from exc
        await table.write(deletion)  # the record has expired


async def clear_records(table: database.Table, items: Iterable[database.Item]) -> None:
    """Remove the texts of idempotency records of comments that are purged."""
    for clearing in filter(None, map(_clearing, items)):
        async for _ in database.attempts():
            try:
                await table.write(clearing)
            except database.ConflictError:
                continue
            except database.ConditionFailedError:
                pass  # the record has expired
            break


def _clearing(item: database.Item) -> database.Update | None:
    if "record" not in item:
        return None
    resource = item.get("id") or comment_id_of(item)
    return database.Update(
        record_key_of(item), remove=("body",), when=(database.Is("resource", resource),)
    )


async def check_unused(
    table: database.Table, record: IdempotencyRecord | None, clock: Clock
) -> None:
    """Raises `AlreadyAnsweredError` if the record's key was used."""
    if record is not None:
        found = await table.get(record_key(record.user, record.key))
        if found is not None:
            _unused(found, clock)


def _unused(found: database.Item | None, clock: Clock) -> database.Condition:
    """The condition for replacing a stored record that has expired: DynamoDB removes expired items
    late. Raises `AlreadyAnsweredError` if it has not expired."""
    if found is None:
        return database.Missing(database.PK)
    if int(found["expires_ms"]) > clock.now_ms():
        raise AlreadyAnsweredError(record_of(found))
    return database.Is("expires_ms", found["expires_ms"])
