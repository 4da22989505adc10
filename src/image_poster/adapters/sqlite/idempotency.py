"""Idempotency records, each written in the transaction of the post or comment that it is for."""

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
    """Store a record; it replaces a former one that `check_unused` accepted."""
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
    """Remove the bodies of idempotency records of deleted posts and comments."""
    connection.executemany(
        "UPDATE idempotency_records SET body = x'' WHERE substr(location, -26) = ?",
        [(id_,) for id_ in ids],
    )
