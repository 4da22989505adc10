"""Idempotency records, within the transaction of what they answer."""

import sqlite3
from collections.abc import Iterable

from image_poster.domain.idempotency import AlreadyAnsweredError, IdempotencyRecord


def check_unused(
    connection: sqlite3.Connection,
    record: IdempotencyRecord | None,
    instead_of: IdempotencyRecord | None = None,
) -> None:
    """Raises `AlreadyAnsweredError` if the record's key was used, unless by `instead_of`."""
    if record is None:
        return
    row = connection.execute(
        "SELECT user, key, fingerprint, body, location FROM idempotency_records "
        "WHERE user = ? AND key = ?",
        (record.user, record.key),
    ).fetchone()
    if row is not None and (former := IdempotencyRecord(*row)) != instead_of:
        raise AlreadyAnsweredError(former)


def keep_record(
    connection: sqlite3.Connection, record: IdempotencyRecord | None, now_ms: int
) -> None:
    """Remember an answer, also in the place of one that `check_unused` let pass."""
    if record is not None:
        connection.execute(
            "INSERT OR REPLACE INTO idempotency_records "
            "(user, key, fingerprint, body, location, kept_at) VALUES (?, ?, ?, ?, ?, ?)",
            (
                record.user,
                record.key,
                record.fingerprint,
                record.body,
                record.location,
                now_ms,
            ),
        )


def clear_records(connection: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Remove the text of what was answered about posts and comments that are deleted."""
    connection.executemany(
        "UPDATE idempotency_records SET body = x'' WHERE substr(location, -26) = ?",
        [(id_,) for id_ in ids],
    )
