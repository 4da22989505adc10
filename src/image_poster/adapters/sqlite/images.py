"""Sizes and hashes of published posts' files, in SQLite; `adapters/files` has the files."""

import sqlite3
from collections.abc import Iterator, Sequence

from image_poster.adapters.sqlite.database import Database
from image_poster.ports.images import FileRecord

_POSTS_AT_A_TIME = 500


class SqliteFileRecordStore:
    """`FileRecordStore` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, post_id: str, records: Sequence[FileRecord]) -> None:
        def replace(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM posts WHERE id = ?", (post_id,)).fetchone():
                connection.executemany(
                    "INSERT OR REPLACE INTO files (post_id, name, size, sha256) "
                    "VALUES (?, ?, ?, ?)",
                    [(post_id, *record) for record in records],
                )

        await self._database.write(replace)

    def of_ready_posts(self) -> Iterator[tuple[str, list[FileRecord]]]:
        """The ready posts by id, each with the records of its files. Posts of earlier versions have
        no records."""
        after = ""
        while posts := self._database.read(
            "SELECT id FROM posts WHERE status = 'ready' AND id > ? ORDER BY id LIMIT ?",
            after,
            _POSTS_AT_A_TIME,
        ):
            for (post_id,) in posts:
                rows = self._database.read(
                    "SELECT name, size, sha256 FROM files WHERE post_id = ?", post_id
                )
                yield post_id, [FileRecord(*row) for row in rows]
            after = posts[-1][0]


def forget_files(connection: sqlite3.Connection, post_id: str) -> None:
    """Delete the records of a deleted post's files."""
    connection.execute("DELETE FROM files WHERE post_id = ?", (post_id,))
