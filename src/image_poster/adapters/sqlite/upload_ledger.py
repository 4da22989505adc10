"""Terms of resumable uploads, in SQLite."""

from image_poster.adapters.sqlite.database import Database
from image_poster.domain.posts import PostStatus
from image_poster.ports.upload_ledger import LedgerEntry
from image_poster.tus.decisions import Upload
from image_poster.tus.errors import UploadGoneError


class SqliteUploadLedger:
    """`UploadLedger` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, post_id: str) -> LedgerEntry | None:
        row = self._database.read_one(
            "SELECT creator, status, length, expires_at, metadata, sha256 FROM uploads "
            "JOIN posts ON posts.id = post_id WHERE post_id = ?",
            post_id,
        )
        if row is not None:
            creator, status, *terms = row
            return LedgerEntry(creator, status == PostStatus.AWAITING_UPLOAD, Upload(*terms))
        if self._database.read_one("SELECT 1 FROM tombstones WHERE id = ?", post_id):
            raise UploadGoneError
        return None

    async def declare_length(self, post_id: str, length: int) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE uploads SET length = ? WHERE post_id = ? AND length IS NULL",
                (length, post_id),
            )
        )
