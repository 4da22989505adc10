"""Remains of deleted posts, in SQLite."""

import sqlite3

from image_poster.adapters.sqlite.database import Database


class SqliteCleanup:
    """`Cleanup` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self, limit: int) -> list[str]:
        rows = self._database.read(
            "SELECT id FROM tombstones WHERE pending = 1 ORDER BY deleted_at, id LIMIT ?", limit
        )
        return [row[0] for row in rows]

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        def purge(connection: sqlite3.Connection) -> bool:
            deleted = connection.execute(
                "DELETE FROM comments WHERE post_id = ? AND id IN "
                "(SELECT id FROM comments WHERE post_id = ? LIMIT ?)",
                (post_id, post_id, limit),
            )
            return deleted.rowcount > 0

        return await self._database.write(purge)

    async def done(self, post_id: str) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE tombstones SET pending = 0 WHERE id = ?", (post_id,)
            )
        )

    async def forget(self, before_ms: int) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM tombstones WHERE pending = 0 AND deleted_at < ?", (before_ms,)
            )
            connection.execute("DELETE FROM receipts WHERE kept_at < ?", (before_ms,))

        await self._database.write(delete)
