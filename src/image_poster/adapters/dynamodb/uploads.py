"""Resumable uploads in DynamoDB, as attributes of their posts: the terms, and the offset (one
conditional update a piece). Users' usage of quotas, one item a user."""

from collections.abc import Callable
from typing import Protocol

from image_poster.adapters.dynamodb import database, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.standing import standing_of
from image_poster.domain.accounts import NO_USAGE, Standing, Usage
from image_poster.domain.errors import (
    UploadGoneError,
)
from image_poster.domain.posts import PostStatus
from image_poster.domain.uploads import Upload
from image_poster.ports import Clock
from image_poster.ports.uploads import UploadRecord

_AWAITS_BYTES = database.HasValue("status", str(PostStatus.AWAITING_UPLOAD))


class DynamoUploadRecordStore:
    """`UploadRecordStore` and `UploadOffsets` in DynamoDB."""

    def __init__(self, table: BotoTable) -> None:
        self._table = table

    async def find(self, post_id: str) -> UploadRecord | None:
        item = await self._table.get(schema.post_key(post_id))
        if item is None:
            return None
        if schema.is_tombstone(item):
            raise UploadGoneError
        upload = schema.upload_of(item)
        if upload is None:
            return None
        awaiting = item["status"] == PostStatus.AWAITING_UPLOAD
        return UploadRecord(str(item["creator"]), awaiting, upload, int(item["upload_offset"]))

    async def declare_length(self, post_id: str, length: int) -> None:
        declaration = database.Update(
            schema.post_key(post_id),
            put={"upload_length": length},
            when=(database.Has("upload_expires"), database.Lacks("upload_length")),
        )
        try:
            await self._table.write(declaration)
        except database.ConditionFailedError:
            return  # it is set

    @database.retried
    async def count_refused(self, post_id: str, size: int) -> int:
        counting = database.Update(
            schema.post_key(post_id),
            add={"upload_refused": size},
            remove=(schema.STREAM_COUNTED,),  # else the stream would tell of each request
            when=(database.Has("upload_expires"), _AWAITS_BYTES),
        )
        try:
            return int((await self._table.write(counting))["upload_refused"])
        except database.ConditionFailedError:
            return 0

    async def find_offset(self, post_id: str) -> int:
        item = await self._table.get(schema.post_key(post_id))
        return int(item.get("upload_offset", 0)) if item else 0

    @database.retried
    async def advance(self, post_id: str, start: int, end: int) -> bool:
        step = database.Update(
            schema.post_key(post_id),
            put={"upload_offset": end, "staged": True},
            remove=(schema.STREAM_COUNTED,),  # else the stream would tell of each piece
            when=(database.HasValue("upload_offset", start), _AWAITS_BYTES),
        )
        try:
            await self._table.write(step)
        except database.ConditionFailedError:
            return False
        return True


class DynamoUsageStore:
    """Stores users' recent usage, summed up from the stream."""

    def __init__(self, table: BotoTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    async def find(self, user: str) -> Usage:
        """The user's usage; it may be slightly out of date."""
        item = await self._table.get(schema.usage_key(user), consistent=False)
        return NO_USAGE if item is None else schema.usage_of(item)

    async def find_caller(self, user: str) -> tuple[Usage, Standing]:
        """The user's usage and standing, by one read. They may be slightly out of date."""
        usage, account = schema.usage_key(user), schema.account_key(user)
        read = await self._table.get_many((usage, account), consistent=False)
        items = {schema.key_of(item): item for item in read}
        known = schema.usage_of(items[usage]) if usage in items else NO_USAGE
        return known, standing_of(items.get(account))

    @database.retried
    async def update(self, user: str, change: Callable[[Usage], Usage]) -> None:
        """Replace the usage by the result of `change`, by comparing and swapping; nothing is
        written if it is the same. Raises `BusyError`."""
        item = await self._table.get(schema.usage_key(user))
        before = NO_USAGE if item is None else schema.usage_of(item)
        after = change(before)
        if after == before:
            return
        version = 0
        unchanged: database.Condition = database.Lacks(database.PK)
        if item is not None:
            version = int(item["version"]) + 1
            unchanged = database.HasValue("version", item["version"])
        new = schema.usage_item(user, after, version, self._clock.now_ms())
        await self._table.write(database.Put(new, (unchanged,)))


class PostQuotas(Protocol):
    """The quotas and the standing of a new post's creator. They count nothing in the post's own
    write."""

    async def check_may_write(self, user: str) -> None:
        """Raise `BannedError` or `AccountDeletedError` if the user may not write."""

    async def admit(self, user: str, upload: Upload) -> None:
        """Raise `RateLimitedError` if the user may begin no further upload."""

    async def charge(self, user: str, size: int) -> None:
        """Count the bytes of an image that came with its request."""
