"""Uploads that may have been abandoned, in SQLite."""

from image_poster.adapters.sqlite.database import Database
from image_poster.tus.decisions import Upload


class SqliteAwaitingUploads:
    """`AwaitingUploads` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[tuple[str, Upload]]:
        rows = self._database.read(
            "SELECT id, length, expires_at, metadata, sha256 FROM posts "
            "JOIN uploads ON uploads.post_id = posts.id "
            "WHERE status = 'awaiting_upload' ORDER BY id"
        )
        return [(row[0], Upload(*row[1:])) for row in rows]
