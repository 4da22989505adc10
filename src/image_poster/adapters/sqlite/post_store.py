"""Posts in SQLite."""

import sqlite3
from collections.abc import Callable

import msgspec

from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.receipts import check_unused, keep
from image_poster.adapters.sqlite.tombstones import bury, was_deleted_by
from image_poster.domain.errors import PostNotFoundError
from image_poster.domain.idempotency import Receipt
from image_poster.domain.identity import Identity
from image_poster.domain.posts import Post, StoredPost, check_visible, encode_post
from image_poster.ports.clock import Clock
from image_poster.tus.decisions import Upload

_FIND = "SELECT id, total_comments, head, latest FROM posts WHERE id = ?"


def stored_post(connection: sqlite3.Connection, post_id: str) -> StoredPost:
    """The post within a transaction; raises `PostNotFoundError`."""
    row = connection.execute(_FIND, (post_id,)).fetchone()
    if row is None:
        raise PostNotFoundError
    return StoredPost(*row)


class SqlitePostStore:
    """`PostStore` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(
        self, post: Post, receipt: Receipt | None = None, upload: Upload | None = None
    ) -> None:
        now = self._clock.now_ms()
        row = (post.id, post.status, post.creator, encode_post(post), now)

        def insert(connection: sqlite3.Connection) -> None:
            check_unused(connection, receipt)
            keep(connection, receipt, now)
            if upload is not None:
                connection.execute(
                    "INSERT OR IGNORE INTO uploads "
                    "(post_id, length, expires_at, metadata, sha256) VALUES (?, ?, ?, ?, ?)",
                    (post.id, *msgspec.structs.astuple(upload)),
                )
            connection.execute(
                "INSERT OR IGNORE INTO posts (id, status, creator, head, due_at) "
                "VALUES (?, ?, ?, ?, ?)",
                row,
            )

        await self._database.write(insert)

    async def find(self, post_id: str) -> StoredPost | None:
        row = self._database.read_one(_FIND, post_id)
        return StoredPost(*row) if row else None

    async def was_deleted(self, post_id: str) -> bool:
        return self._database.read_one("SELECT 1 FROM tombstones WHERE id = ?", post_id) is not None

    async def update(self, post_id: str, change: Callable[[Post], Post]) -> StoredPost:
        now = self._clock.now_ms()

        def replace(connection: sqlite3.Connection) -> StoredPost:
            before = stored_post(connection, post_id)
            post = change(before.post)
            head = encode_post(post)
            connection.execute(
                "UPDATE posts SET head = ?1, status = ?2, "
                "error = CASE WHEN status = ?2 THEN error END, "
                "due_at = CASE WHEN ?2 = 'processing' AND status <> ?2 THEN ?3 ELSE due_at END "
                "WHERE id = ?4",
                (head, post.status, now, post_id),
            )
            return before._replace(head=head)

        return await self._database.write(replace)

    async def remove(self, post_id: str, by: Identity) -> None:
        now = self._clock.now_ms()

        def delete(connection: sqlite3.Connection) -> None:
            if was_deleted_by(connection, post_id, by):
                return
            post = stored_post(connection, post_id).post
            if not by.admin:
                check_visible(post, by)
            by.require(post.creator)
            connection.execute("DELETE FROM posts WHERE id = ?", (post_id,))
            connection.execute("DELETE FROM uploads WHERE post_id = ?", (post_id,))
            bury(connection, post_id, by, now, pending=True)

        await self._database.write(delete)
