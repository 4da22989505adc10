"""Records of resumable uploads in SQLite: their terms and refused bytes."""

import sqlite3

from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.quotas import adjust_upload
from image_poster.domain.errors import UploadGoneError
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.domain.posts import PostStatus
from image_poster.domain.uploads import Upload
from image_poster.ports.uploads import UploadRecord


class SqliteUploadRecordStore:
    """`UploadRecordStore` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, post_id: str) -> UploadRecord | None:
        row = self._database.read_one(
            "SELECT creator, status, length, expires_at, metadata, sha256, content_type "
            "FROM uploads JOIN posts ON posts.id = post_id WHERE post_id = ?",
            post_id,
        )
        if row is not None:
            creator, status, *terms = row
            return UploadRecord(creator, status == PostStatus.AWAITING_UPLOAD, Upload(*terms))
        if self._database.read_one("SELECT 1 FROM tombstones WHERE id = ?", post_id):
            raise UploadGoneError
        return None

    async def declare_length(self, post_id: str, length: int) -> None:
        def declare(connection: sqlite3.Connection) -> None:
            declared = connection.execute(
                "UPDATE uploads SET length = ? WHERE post_id = ? AND length IS NULL",
                (length, post_id),
            )
            if declared.rowcount:
                adjust_upload(connection, post_id, length)

        await self._database.write(declare)

    async def count_refused(self, post_id: str, size: int) -> int:
        def count(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "UPDATE uploads SET refused_bytes = refused_bytes + ?1 WHERE post_id = ?2 "
                "AND EXISTS (SELECT 1 FROM posts WHERE id = ?2 AND status = 'awaiting_upload') "
                "RETURNING refused_bytes",
                (size, post_id),
            ).fetchone()
            return int(row[0]) if row else 0

        return await self._database.write(count)

    async def awaiting(self, after: str, limit: int) -> list[tuple[str, Upload]]:
        rows = self._database.read(
            "SELECT id, length, expires_at, metadata, sha256, content_type FROM posts "
            "JOIN uploads ON uploads.post_id = posts.id "
            "WHERE status = 'awaiting_upload' AND id > ? ORDER BY id LIMIT ?",
            after,
            limit,
        )
        return [(row[0], Upload(*row[1:])) for row in rows]

    async def set_expiry(self, post_id: str, expires_ms: int) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE uploads SET expires_at = ? WHERE post_id = ?", (expires_ms, post_id)
            )
        )

    async def move_expiries(self, by_ms: int, *, before_ms: int) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE uploads SET expires_at = expires_at + ? "
                "WHERE expires_at BETWEEN ? AND ? AND post_id IN "
                "(SELECT id FROM posts WHERE status = 'awaiting_upload')",
                (by_ms, before_ms, before_ms + UPLOAD_KEPT_MS),
            )
        )
