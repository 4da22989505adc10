"""Terms of resumable uploads, in DynamoDB: attributes of their posts."""

from image_poster.adapters.dynamodb.items import post_key, upload_of
from image_poster.adapters.dynamodb.post_store import is_there
from image_poster.adapters.dynamodb.table import (
    ConditionFailedError,
    Exists,
    Missing,
    Table,
    Update,
)
from image_poster.domain.posts import PostStatus
from image_poster.ports.upload_ledger import LedgerEntry
from image_poster.tus.errors import UploadGoneError


class DynamoUploadLedger:
    """`UploadLedger` in DynamoDB."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def find(self, post_id: str) -> LedgerEntry | None:
        item = await self._table.get(post_key(post_id))
        if item is None:
            return None
        if not is_there(item):
            raise UploadGoneError
        upload = upload_of(item)
        if upload is None:
            return None
        awaiting = item["status"] == PostStatus.AWAITING_UPLOAD
        return LedgerEntry(str(item["creator"]), awaiting, upload, int(item["upload_offset"]))

    async def declare_length(self, post_id: str, length: int) -> None:
        declaration = Update(
            post_key(post_id),
            put={"upload_length": length},
            when=(Exists("upload_expires"), Missing("upload_length")),
        )
        try:
            await self._table.write(declaration)
        except ConditionFailedError:
            return  # it is set
