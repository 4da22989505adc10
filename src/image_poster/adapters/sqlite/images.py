"""Sizes and hashes of published posts' files, in SQLite; `adapters/files` has the files."""

import sqlite3
from collections.abc import Iterator, Sequence

from image_poster.adapters.sqlite.database import Database
from image_poster.ports.images import FileRecord

_POSTS_AT_A_TIME = 500


def store_files(
    connection: sqlite3.Connection, post_id: str, records: Sequence[FileRecord]
) -> None:
    """Replace the records of a post's files."""
    connection.executemany(
        "INSERT OR REPLACE INTO files (post_id, name, size, sha256) VALUES (?, ?, ?, ?)",
        [(post_id, *record) for record in records],
    )


def forget_files(connection: sqlite3.Connection, post_id: str) -> None:
    """Delete the records of a deleted post's files."""
    connection.execute("DELETE FROM files WHERE post_id = ?", (post_id,))


def files_of_ready_posts(database: Database) -> Iterator[tuple[str, list[FileRecord]]]:
    """The ready posts by id, each with the records of its files. Posts of earlier versions have no
    records."""
    after = ""
    while posts := database.read(
        "SELECT id FROM posts WHERE status = 'ready' AND id > ? ORDER BY id LIMIT ?",
        after,
        _POSTS_AT_A_TIME,
    ):
        for (post_id,) in posts:
            rows = database.read("SELECT name, size, sha256 FROM files WHERE post_id = ?", post_id)
            yield post_id, [FileRecord(*row) for row in rows]
        after = posts[-1][0]
