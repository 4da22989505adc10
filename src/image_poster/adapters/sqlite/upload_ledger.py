"""Terms of resumable uploads, in SQLite."""

from image_poster.adapters.sqlite.database import Database
from image_poster.tus.decisions import Upload


class SqliteUploadLedger:
    """`UploadLedger` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, post_id: str) -> Upload | None:
        row = self._database.read_one(
            "SELECT length, expires_at, metadata, sha256 FROM uploads WHERE post_id = ?", post_id
        )
        return Upload(*row) if row else None

    async def declare_length(self, post_id: str, length: int) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE uploads SET length = ? WHERE post_id = ? AND length IS NULL",
                (length, post_id),
            )
        )

    async def was_removed(self, post_id: str) -> bool:
        return self._database.read_one("SELECT 1 FROM tombstones WHERE id = ?", post_id) is not None

    async def awaiting(self) -> list[tuple[str, Upload]]:
        rows = self._database.read(
            "SELECT id, length, expires_at, metadata, sha256 FROM posts "
            "JOIN uploads ON uploads.post_id = posts.id "
            "WHERE status = 'awaiting_upload' ORDER BY id"
        )
        return [(row[0], Upload(*row[1:])) for row in rows]
