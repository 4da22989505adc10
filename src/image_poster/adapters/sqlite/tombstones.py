"""Who deleted what, within a transaction."""

import sqlite3

from image_poster.domain.identity import Identity


def was_deleted_by(connection: sqlite3.Connection, id_: str, by: Identity) -> bool:
    """Whether this very user deleted it before: then doing it again is a success."""
    row = connection.execute("SELECT user FROM tombstones WHERE id = ?", (id_,)).fetchone()
    return row is not None and row[0] == by.user


def bury(
    connection: sqlite3.Connection, id_: str, by: Identity, now_ms: int, *, pending: bool
) -> None:
    """Remember a deletion; `pending` when something of it has still to be removed."""
    connection.execute(
        "INSERT OR REPLACE INTO tombstones (id, user, deleted_at, pending) VALUES (?, ?, ?, ?)",
        (id_, by.user, now_ms, pending),
    )
