"""Records by which a repeated request changes nothing: idempotency records of new posts and
comments, and tombstones of deleted ones. Each is written in the transaction of its request.

Functions with the argument `connection` run within a transaction.
"""

import sqlite3
from collections.abc import Iterable

from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.uploads import forget_days
from image_poster.domain.errors import GoneError
from image_poster.domain.idempotency import (
    KEPT_MS,
    AlreadyAnsweredError,
    IdempotencyRecord,
    fingerprint,
)
from image_poster.domain.identity import Identity
from image_poster.domain.ids import EARLIEST_MS

# A lifetime that began in 1970, by a wrong clock, begins anew when the clock is right.
_CORRECT_TIMES = (
    "UPDATE tombstones SET deleted_at = ?1 WHERE pending = 0 AND deleted_at < ?2 AND ?2 <= ?1",
    "UPDATE idempotency_records SET kept_at = ?1 WHERE kept_at < ?2 AND ?2 <= ?1",
    "UPDATE used_keys SET kept_at = ?1 WHERE kept_at < ?2 AND ?2 <= ?1",
)
# The conditions are `domain.ids.is_over`.
_FORGET_TOMBSTONES = (
    "DELETE FROM tombstones WHERE pending = 0 "
    "AND deleted_at <= ?1 AND deleted_at NOT BETWEEN ?2 + 1 AND ?3 AND ?2 >= 0"
)
_FORGET_RECORDS, _FORGET_KEYS = (
    f"DELETE FROM {table} WHERE kept_at <= ?1 "  # noqa: S608 - constants
    "AND kept_at NOT BETWEEN ?2 + 1 AND ?3 AND ?2 >= 0"
    for table in ("idempotency_records", "used_keys")
)
# One query, as each costs a twentieth of a comment.
_USES_OF_KEY = (
    "SELECT user, key, fingerprint, body, location FROM idempotency_records "
    "WHERE user = ?1 AND key = ?2 "
    "UNION ALL SELECT NULL, NULL, NULL, NULL, NULL FROM used_keys WHERE hash = ?3"
)
_OF_DELETED_ACCOUNT = (None,) * 5
_KEYS_OF_USER = "SELECT key, kept_at FROM idempotency_records WHERE user = ? LIMIT ?"


def check_unused(
    connection: sqlite3.Connection,
    record: IdempotencyRecord | None,
    instead_of: IdempotencyRecord | None = None,
) -> None:
    """Raises `AlreadyAnsweredError` if the record's key was used, unless by `instead_of`. Raises
    `GoneError` if it was used by a deleted account of the same name."""
    if record is None:
        return
    key = (record.user, record.key, used_key(record.user, record.key))
    for row in connection.execute(_USES_OF_KEY, key).fetchall():
        if row == _OF_DELETED_ACCOUNT:
            raise GoneError
        if (former := IdempotencyRecord(*row)) != instead_of:
            raise AlreadyAnsweredError(former)


def used_key(user: str, key: str) -> bytes:
    """The hash of an idempotency key, from which neither the user nor the key can be read."""
    return fingerprint(user.encode(), key.encode())


def replace_by_used_keys(connection: sqlite3.Connection, user: str, limit: int) -> int:
    """Replace up to `limit` records of a user by the hashes of their keys; return their number."""
    rows = connection.execute(_KEYS_OF_USER, (user, limit)).fetchall()
    connection.executemany(
        "INSERT OR REPLACE INTO used_keys (hash, kept_at) VALUES (?, ?)",
        [(used_key(user, key), kept_at) for key, kept_at in rows],
    )
    connection.executemany(
        "DELETE FROM idempotency_records WHERE user = ? AND key = ?",
        [(user, key) for key, _ in rows],
    )
    return len(rows)


async def check_record_unused(database: Database, record: IdempotencyRecord | None) -> None:
    """Check as `check_unused`, in a transaction of its own: after all writes that were queued."""
    if record is not None:
        await database.write(lambda connection: check_unused(connection, record))


def store_record(
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


def was_deleted_by(connection: sqlite3.Connection, id_: str, by: Identity) -> bool:
    """True if this user deleted the post or comment: then a repeated deletion succeeds."""
    row = connection.execute("SELECT user FROM tombstones WHERE id = ?", (id_,)).fetchone()
    return row is not None and row[0] == by.user


def add_tombstone(
    connection: sqlite3.Connection,
    id_: str,
    by: Identity,
    now_ms: int,
    *,
    pending: bool,
    ended: bool = False,
) -> None:
    """Store a tombstone: `pending` until the purge is complete, `ended` if it was an upload without
    all its bytes."""
    connection.execute(
        "INSERT OR REPLACE INTO tombstones (id, user, deleted_at, pending, ended) "
        "VALUES (?, ?, ?, ?, ?)",
        (id_, by.user, now_ms, pending, ended),
    )


class SqliteTombstoneQueue:
    """`TombstoneQueue` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self, limit: int, after: str = "", *, by: str | None = None) -> list[str]:
        sql = (  # without the index, every tombstone would be read
            "SELECT id FROM tombstones INDEXED BY tombstones_pending "
            "WHERE pending = 1 AND id > ?1 AND (?2 IS NULL OR user = ?2) ORDER BY id LIMIT ?3"
        )
        rows = self._database.read(sql, after, by, limit)
        return [row[0] for row in rows]

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        def purge(connection: sqlite3.Connection) -> bool:
            deleted = connection.execute(
                "DELETE FROM comments WHERE post_id = ? AND id IN "
                "(SELECT id FROM comments WHERE post_id = ? LIMIT ?) RETURNING id",
                (post_id, post_id, limit),
            ).fetchall()
            clear_records(connection, [id_ for (id_,) in deleted])
            return bool(deleted)

        return await self._database.write(purge)

    async def mark_purged(self, post_id: str) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE tombstones SET pending = 0 WHERE id = ?", (post_id,)
            )
        )

    async def forget(self, *, service_ms: int, now_ms: int) -> None:
        times = (service_ms - KEPT_MS, now_ms - KEPT_MS, now_ms)

        def delete(connection: sqlite3.Connection) -> None:
            for sql in _CORRECT_TIMES:
                connection.execute(sql, (service_ms, EARLIEST_MS))
            connection.execute(_FORGET_TOMBSTONES, times)
            connection.execute(_FORGET_RECORDS, times)
            connection.execute(_FORGET_KEYS, times)
            forget_days(connection, now_ms - KEPT_MS)

        await self._database.write(delete)
