"""How far resumable uploads are, in DynamoDB: one conditional update a piece."""

from image_poster.adapters.dynamodb.items import post_key
from image_poster.adapters.dynamodb.retries import attempts
from image_poster.adapters.dynamodb.table import (
    ConditionFailedError,
    ConflictError,
    Is,
    Table,
    Update,
)
from image_poster.domain.posts import PostStatus


class DynamoUploadOffsets:
    """`UploadOffsets` in DynamoDB."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def find(self, post_id: str) -> int:
        item = await self._table.get(post_key(post_id))
        return int(item.get("upload_offset", 0)) if item else 0

    async def advance(self, post_id: str, start: int, end: int) -> bool:
        step = Update(
            post_key(post_id),
            put={"upload_offset": end, "staged": True},
            when=(Is("upload_offset", start), Is("status", str(PostStatus.AWAITING_UPLOAD))),
        )
        async for _ in attempts():
            try:
                await self._table.write(step)
            except ConditionFailedError:
                return False
            except ConflictError:
                continue
            return True
        raise AssertionError  # `attempts` ends with an error of its own
