"""Records of resumable uploads in DynamoDB, as attributes of their posts: the terms and the offset
(one conditional update a piece)."""

from image_poster.adapters.dynamodb import database
from image_poster.adapters.dynamodb.posts import is_there
from image_poster.adapters.dynamodb.schema import COUNTED, post_key, upload_of
from image_poster.domain.errors import UploadGoneError
from image_poster.domain.posts import PostStatus
from image_poster.ports.uploads import UploadRecord


class DynamoUploadRecordStore:
    """`UploadRecordStore` in DynamoDB."""

    def __init__(self, table: database.Table) -> None:
        self._table = table

    async def find(self, post_id: str) -> UploadRecord | None:
        item = await self._table.get(post_key(post_id))
        if item is None:
            return None
        if not is_there(item):
            raise UploadGoneError
        upload = upload_of(item)
        if upload is None:
            return None
        awaiting = item["status"] == PostStatus.AWAITING_UPLOAD
        return UploadRecord(str(item["creator"]), awaiting, upload, int(item["upload_offset"]))

    async def declare_length(self, post_id: str, length: int) -> None:
        declaration = database.Update(
            post_key(post_id),
            put={"upload_length": length},
            when=(database.Exists("upload_expires"), database.Missing("upload_length")),
        )
        try:
            await self._table.write(declaration)
        except database.ConditionFailedError:
            return  # it is set

    async def count_refused(self, post_id: str, size: int) -> int:
        counting = database.Update(
            post_key(post_id),
            add={"upload_refused": size},
            remove=(COUNTED,),  # else the stream would tell of each request
            when=(
                database.Exists("upload_expires"),
                database.Is("status", str(PostStatus.AWAITING_UPLOAD)),
            ),
        )
        async for _ in database.attempts():
            try:
                return int((await self._table.write(counting))["upload_refused"])
            except database.ConditionFailedError:
                return 0
            except database.ConflictError:
                continue
        raise AssertionError  # `attempts` ends with an error of its own


class DynamoUploadOffsets:
    """`UploadOffsets` in DynamoDB."""

    def __init__(self, table: database.Table) -> None:
        self._table = table

    async def find(self, post_id: str) -> int:
        item = await self._table.get(post_key(post_id))
        return int(item.get("upload_offset", 0)) if item else 0

    async def advance(self, post_id: str, start: int, end: int) -> bool:
        step = database.Update(
            post_key(post_id),
            put={"upload_offset": end, "staged": True},
            remove=(COUNTED,),  # else the stream would tell of each piece
            when=(
                database.Is("upload_offset", start),
                database.Is("status", str(PostStatus.AWAITING_UPLOAD)),
            ),
        )
        async for _ in database.attempts():
            try:
                await self._table.write(step)
            except database.ConditionFailedError:
                return False
            except database.ConflictError:
                continue
            return True
        raise AssertionError  # `attempts` ends with an error of its own
