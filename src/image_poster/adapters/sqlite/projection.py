"""Counts and latest comments in SQLite, derived anew."""

import sqlite3

from image_poster.adapters.sqlite.comment_store import newest_comments
from image_poster.adapters.sqlite.database import Database
from image_poster.ports.projection import Drift, RebuiltBatch


class SqliteProjection:
    """`Projection` in SQLite. Feed entries need nothing of their own: they are indexes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        def derive(connection: sqlite3.Connection) -> RebuiltBatch:
            rows = connection.execute(
                "SELECT id, total_comments, latest FROM posts WHERE id > ? ORDER BY id LIMIT ?",
                (after or "", limit),
            ).fetchall()
            drifts = [_derive(connection, *row) for row in rows]
            found = [drift for drift in drifts if drift is not None]
            return RebuiltBatch(len(rows), found, rows[-1][0] if rows else None)

        return await self._database.write(derive)


def _derive(
    connection: sqlite3.Connection, post_id: str, total: int, latest: bytes
) -> Drift | None:
    (counted,) = connection.execute(
        "SELECT count(*) FROM comments WHERE post_id = ?", (post_id,)
    ).fetchone()
    newest = newest_comments(connection, post_id)
    if (counted, newest) == (total, latest):
        return None
    connection.execute(
        "UPDATE posts SET total_comments = ?, latest = ? WHERE id = ?", (counted, newest, post_id)
    )
    return Drift(post_id, total, counted)
