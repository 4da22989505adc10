"""Posts in DynamoDB. A post changes by comparing and swapping its `version`."""

from collections.abc import Callable

from image_poster.adapters.dynamodb.database import (
    PK,
    ConditionFailedError,
    ConflictError,
    Exists,
    Is,
    Item,
    Missing,
    Put,
    Query,
    Table,
    Update,
    attempts,
)
from image_poster.adapters.dynamodb.idempotency import put_once
from image_poster.adapters.dynamodb.schema import (
    AFTER_COMMENTS,
    DELETED,
    key_of,
    post_attributes,
    post_item,
    post_key,
    stored_post,
    ttl_of,
)
from image_poster.domain.errors import NotYoursError, PostNotFoundError
from image_poster.domain.idempotency import KEPT_MS, IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.posts import Post, PostStatus, StoredPost, is_parked
from image_poster.domain.uploads import Upload
from image_poster.ports.clock import Clock

_FEED_KEYS = ("feed", "creator_feed")


class DynamoPostStore:
    """`PostStore` in DynamoDB. `request_id` tells which request is being answered, so that what
    follows from it can be found in the log; `applied` is told the id of the request that changed a
    post last, when the post is found."""

    def __init__(
        self,
        table: Table,
        clock: Clock,
        *,
        shards: int = 1,
        request_id: Callable[[], str] = str,
        applied: Callable[[str], object] = bool,
    ) -> None:
        self._table = table
        self._clock = clock
        self._shards = shards
        self._request_id = request_id
        self._applied = applied

    async def add(
        self, post: Post, record: IdempotencyRecord | None = None, upload: Upload | None = None
    ) -> None:
        item = post_item(post, upload, shards=self._shards, request_id=self._request_id())
        try:
            await put_once(self._table, Put(item, (Missing(PK),)), record, self._clock)
        except ConditionFailedError:
            return  # it is there already

    async def find(self, post_id: str) -> StoredPost | None:
        item = await self._table.get(post_key(post_id))
        if item is None or not is_there(item):
            return None
        self._applied(str(item["request_id"]))
        return stored_post(item)

    async def was_deleted(self, post_id: str) -> bool:
        item = await self._table.get(post_key(post_id))
        return item is not None and not is_there(item)

    async def update(self, post_id: str, change: Callable[[Post], Post]) -> StoredPost:
        async for _ in attempts():
            item = await self._table.get(post_key(post_id))
            if item is None or not is_there(item):
                raise PostNotFoundError
            before = stored_post(item).post
            after = change(before)
            if after == before:
                return stored_post(item)
            try:
                return stored_post(await self._table.write(self._change(item, before, after)))
            except (ConditionFailedError, ConflictError):
                continue
        raise AssertionError  # `attempts` ends with an error of its own

    async def remove(self, post_id: str, by: Identity) -> None:
        now = self._clock.now_ms()
        conditions = (Exists(PK), Missing("deleted_by"))
        removal = Update(
            post_key(post_id),
            put={
                "status": DELETED,
                "deleted_by": by.user,
                "head": "",
                "latest": "",
                "request_id": self._request_id(),
                "ttl": ttl_of(now + KEPT_MS),
            },
            add={"version": 1},
            remove=_FEED_KEYS,
            when=conditions if by.admin else (*conditions, Is("creator", by.user)),
        )
        async for _ in attempts():
            try:
                await self._table.write(removal)
            except ConditionFailedError as exc:
                _explain(exc.item, by)
            except ConflictError:
                continue
            return

    def _change(self, item: Item, before: Post, after: Post) -> Update:
        gone = [] if after.status is PostStatus.READY else list(_FEED_KEYS)
        if before.status is PostStatus.AWAITING_UPLOAD is not after.status:
            gone.append("ttl")  # it has come, and expires no more
        if not is_parked(after):
            gone.append("error")
        return Update(
            post_key(after.id),
            put={**post_attributes(after, self._shards), "request_id": self._request_id()},
            add={"version": 1},
            remove=tuple(gone),
            when=(Is("version", item["version"]),),
        )


def is_there(item: Item) -> bool:
    """Whether the post is for anyone to see, and no tombstone."""
    return item["status"] != DELETED


def _explain(item: Item | None, by: Identity) -> None:
    """Why a post was not removed; returns if it had been, by the same user."""
    if item is None:
        raise PostNotFoundError
    if item["status"] == DELETED:
        if item["deleted_by"] == by.user:
            return
        raise PostNotFoundError
    raise NotYoursError if item["status"] == PostStatus.READY else PostNotFoundError


class DynamoTombstoneStore:
    """`Remains` in DynamoDB. The tombstone itself goes by its `ttl`."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        query = Query(post_key(post_id).pk, limit, before=AFTER_COMMENTS)
        page = await self._table.query(query, consistent=True)
        await self._table.delete_many([key_of(item) for item in page.items])
        return bool(page.items)

    async def mark_purged(self, post_id: str) -> None:
        """Nothing is to be remembered: the tombstone says all."""
