"""Posts in DynamoDB. A post changes by comparing and swapping its `version`.

Events start all work of a post: here are its failures, scheduled checks for lost events, and the
cursor of the full reconciliation.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from image_poster.adapters.dynamodb import database, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.idempotency import (
    check_unused,
    clear_records,
    delete_texts,
    put_once,
)
from image_poster.domain.errors import NotYoursError, PostNotFoundError, RateLimitedError
from image_poster.domain.idempotency import KEPT_MS, IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.posts import Post, PostStatus, StoredPost, is_parked
from image_poster.domain.uploads import Upload
from image_poster.ports import Clock
from image_poster.ports.images import FileRecord

_FEED_KEYS = ("feed", "creator_feed")
_UNFINISHED_KEY = "unfinished"
_MAX_ERROR_CHARACTERS = 1000
_CHECKS_AT_A_TIME = 100


class PostQuotas(Protocol):
    """The quotas of a new post's creator. They count nothing in the post's own write."""

    async def admit(self, user: str, upload: Upload) -> None:
        """Raise `RateLimitedError` if the user may begin no further upload."""

    async def charge(self, user: str, size: int) -> None:
        """Count the bytes of an image that came with its request."""


class DynamoPostStore:
    """`PostStore` and `TombstoneStore` in DynamoDB. A tombstone itself goes by its `ttl`.

    `request_id` returns the id of the current request; it is stored with the post, for the log.
    `applied` is called with the id of the last request that changed a post, when `find` reads it.
    `removed` is called with the id of a post that this process deleted. `quotas` are enforced on
    new posts.
    """

    def __init__(
        self,
        table: BotoTable,
        clock: Clock,
        *,
        shards: int = 1,
        request_id: Callable[[], str] = str,
        applied: Callable[[str], object] = bool,
        removed: Callable[[str], object] = bool,
        quotas: PostQuotas | None = None,
    ) -> None:
        self._table = table
        self._clock = clock
        self._shards = shards
        self._request_id = request_id
        self._applied = applied
        self._removed = removed
        self._quotas = quotas

    async def add(
        self,
        post: Post,
        record: IdempotencyRecord | None = None,
        upload: Upload | None = None,
        *,
        image_bytes: int = 0,
        instead_of: IdempotencyRecord | None = None,
    ) -> None:
        if upload is not None and self._quotas is not None:
            try:
                await self._quotas.admit(post.creator, upload)
            except RateLimitedError:
                if instead_of is None:  # a repeat of what was answered is never refused
                    await check_unused(self._table, record, self._clock)
                raise
        item = schema.post_item(
            post,
            upload,
            shards=self._shards,
            request_id=self._request_id(),
            now_ms=self._clock.now_ms(),
        )
        try:
            await put_once(self._table, item, record, self._clock, instead_of)
        except database.ConditionFailedError:
            return  # the post exists
        if image_bytes and self._quotas is not None:
            await self._quotas.charge(post.creator, image_bytes)

    async def find(self, post_id: str) -> StoredPost | None:
        item = await self._table.get(schema.post_key(post_id))
        if item is None or schema.is_tombstone(item):
            return None
        self._applied(str(item["request_id"]))
        return schema.stored_post(item)

    async def is_ready(self, post_id: str) -> bool:
        item = await self._table.get(schema.post_key(post_id))
        return item is not None and item["status"] == PostStatus.READY

    async def was_deleted(self, post_id: str) -> bool:
        item = await self._table.get(schema.post_key(post_id))
        return item is not None and schema.is_tombstone(item)

    async def was_aborted(self, post_id: str) -> bool:
        item = await self._table.get(schema.post_key(post_id))
        return item is not None and "ended" in item

    @database.retried
    async def update(
        self, post_id: str, change: Callable[[Post], Post], *, files: Sequence[FileRecord] = ()
    ) -> StoredPost:
        del files  # S3 verifies its objects
        item = await self._table.get(schema.post_key(post_id))
        if item is None or schema.is_tombstone(item):
            raise PostNotFoundError
        before = schema.stored_post(item).post
        after = change(before)
        if after != before:
            item = await self._table.write(self._change(item, before, after))
        return schema.stored_post(item)

    @database.retried
    async def remove(self, post_id: str, by: Identity, *, ended: bool = False) -> None:
        try:
            await delete_texts(self._table, self._removal(post_id, by, ended=ended))
        except database.ConditionFailedError as exc:
            if ended:  # perhaps it awaits no bytes any more: then this is a deletion
                return await self.remove(post_id, by)
            _explain(exc.item, by)
        self._removed(post_id)
        return None

    def _removal(self, post_id: str, by: Identity, *, ended: bool) -> database.Update:
        now = self._clock.now_ms()
        awaiting = database.HasValue("status", str(PostStatus.AWAITING_UPLOAD))
        conditions: database.Conditions = (
            database.Has(database.PK),
            database.Lacks("deleted_by"),
            *((awaiting,) if ended else ()),
        )
        return database.Update(
            schema.post_key(post_id),
            put={
                "status": schema.DELETED,
                "deleted_by": by.user,
                "head": "",
                "latest": "",
                "request_id": self._request_id(),
                "ttl": schema.ttl_of(now + KEPT_MS),
                "since_ms": now,
                **schema.due_attributes(post_id, now + schema.DELETED_CHECK_MS),
                **({"ended": True} if ended else {}),
            },
            add={"version": 1},
            remove=(*_FEED_KEYS, _UNFINISHED_KEY, schema.STREAM_COUNTED, "upload_metadata"),
            when=conditions if by.admin else (*conditions, database.HasValue("creator", by.user)),
        )

    def _change(self, item: database.Item, before: Post, after: Post) -> database.Update:
        removed = [_UNFINISHED_KEY] if after.status is PostStatus.READY else list(_FEED_KEYS)
        if before.status is PostStatus.AWAITING_UPLOAD is not after.status:
            removed.append("ttl")  # its bytes have come, so it does not expire
        if not is_parked(after):
            removed.append("error")
        changed = schema.post_attributes(after, self._shards)
        if after.status is not before.status:
            now = self._clock.now_ms()
            changed["since_ms"] = now
            if after.status in schema.UNFINISHED:
                changed |= schema.due_attributes(after.id, now + schema.UNFINISHED_CHECK_MS)
            else:
                removed += schema.DUE_ATTRIBUTES
        if _changes_usage(before, after):
            changed[schema.STREAM_COUNTED] = False
        else:
            removed.append(schema.STREAM_COUNTED)
        return database.Update(
            schema.post_key(after.id),
            put={**changed, "request_id": self._request_id()},
            add={"version": 1},
            remove=tuple(removed),
            when=(database.HasValue("version", item["version"]),),
        )

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        query = database.Query(schema.post_key(post_id).pk, limit, before=schema.AFTER_COMMENTS)
        page = await self._table.query(query, consistent=True)
        await clear_records(self._table, page.items)
        await self._table.delete_many([schema.key_of(item) for item in page.items])
        return bool(page.items)

    async def was_published(self, post_id: str) -> bool:
        """Return True if this deleted post had ever been ready."""
        item = await self._table.get(schema.post_key(post_id))
        return item is not None and "published" in item

    async def mark_purged(self, post_id: str) -> None:
        """Remove the tombstone's scheduled check. An expired post has no tombstone."""
        purged = database.Update(
            schema.post_key(post_id),
            remove=schema.DUE_ATTRIBUTES,
            when=(database.HasValue("status", schema.DELETED),),
        )
        with suppress(database.ConditionFailedError, database.ConflictError):
            await self._table.write(purged)


def _changes_usage(before: Post, after: Post) -> bool:
    """True if the change counts in the creator's usage: an upload has ended, or an edit."""
    if before.status is PostStatus.AWAITING_UPLOAD is not after.status:
        return True
    return before.status is after.status and before.edited_at != after.edited_at


def _explain(item: database.Item | None, by: Identity) -> None:
    """Raises the reason why a post was not deleted: `PostNotFoundError` or `NotYoursError`. Returns
    if the same user had deleted it before."""
    if item is None:
        raise PostNotFoundError
    if schema.is_tombstone(item):
        if item["deleted_by"] == by.user:
            return
        raise PostNotFoundError
    raise NotYoursError if item["status"] == PostStatus.READY else PostNotFoundError


class DynamoFailureCounter:
    """Counts a post's image work failures that are the service's fault, in attributes of the
    post."""

    def __init__(self, table: BotoTable) -> None:
        self._table = table

    async def count(self, post_id: str, error: str) -> int:
        """Count a failure; return the total. 0 if the post is gone."""
        failure = database.Update(
            schema.post_key(post_id),
            put={"error": error[:_MAX_ERROR_CHARACTERS]},
            add={"failures": 1},
            when=(database.Has("head"),),
        )
        try:
            return int((await self._table.write(failure))["failures"])
        except database.ConditionFailedError:
            return 0

    async def clear(self, post_id: str) -> None:
        """Reset the count. A no-op if the post is gone."""
        clearing = database.Update(
            schema.post_key(post_id), remove=("failures", "error"), when=(database.Has("head"),)
        )
        with suppress(database.ConditionFailedError):
            await self._table.write(clearing)


class DuePost(NamedTuple):
    """A post with an overdue event: its status (None: deleted), and the time since when (ms since
    1970)."""

    post_id: str
    status: PostStatus | None
    since_ms: int


class DynamoScheduledChecks:
    """Scheduled checks of posts that are not at rest, to find lost events, by a sparse index. It
    also returns checks that are due within the next `ahead_ms` milliseconds."""

    def __init__(self, table: BotoTable, clock: Clock, *, ahead_ms: int = 0) -> None:
        self._table = table
        self._clock = clock
        self._ahead_ms = ahead_ms

    async def due(self) -> AsyncIterator[DuePost]:
        """Posts whose check is due: they await their image, are `processing`, or were deleted and
        not purged."""
        for part in range(schema.DUE_PARTS):
            for key in await self._keys(schema.due_key(part)):
                # The index is a moment behind; the item has the current state.
                item = await self._table.get(key)
                if item is not None and "due" in item:
                    status = None if schema.is_tombstone(item) else PostStatus(str(item["status"]))
                    yield DuePost(str(item["id"]), status, int(item["since_ms"]))

    async def reschedule(self, post_id: str, at_ms: int | None) -> None:
        """Set the time of the next check (ms since 1970); None: never. A no-op for a post that is
        at rest."""
        change = database.Update(
            schema.post_key(post_id),
            put={} if at_ms is None else schema.due_attributes(post_id, at_ms),
            remove=schema.DUE_ATTRIBUTES if at_ms is None else (),
            when=(database.Has("due"),),
        )
        with suppress(database.ConditionFailedError, database.ConflictError):
            await self._table.write(change)

    async def _keys(self, partition: str) -> list[database.Key]:
        """All due keys of a partition, read before any check: a check changes the index."""
        keys: list[database.Key] = []
        before: str | None = schema.due_at(self._clock.now_ms() + self._ahead_ms)
        while before is not None:
            query = database.Query(partition, _CHECKS_AT_A_TIME, before, "due", ("due", "due_at"))
            items, before = await self._table.query(query)
            keys += map(schema.key_of, items)
        return keys


class DynamoReconciliationCursorStore:
    """Stores the position of a full reconciliation in one item, and lets only one run at a time."""

    def __init__(self, table: BotoTable) -> None:
        self._table = table

    async def read(self) -> schema.ReconciliationCursor:
        """The last stored state; if there is none, that of a walk at rest that began at 0."""
        item = await self._table.get(schema.CURSOR_KEY)
        return schema.FIRST_CURSOR if item is None else schema.cursor_of(item)

    async def reserve(self, last: schema.ReconciliationCursor, until_ms: int) -> bool:
        """Reserve the walk for this caller until `until_ms` (since 1970). False, with nothing
        changed, if the stored state is no longer `last`."""
        unchanged: database.Condition = database.Lacks(database.PK)
        if last != schema.FIRST_CURSOR:
            unchanged = database.HasValue("until_ms", last.until_ms)
        reserved = schema.cursor_item(last._replace(until_ms=until_ms))
        try:
            await self._table.write(database.Put(reserved, (unchanged,)))
        except (database.ConditionFailedError, database.ConflictError):
            return False
        return True

    async def store(self, cursor: schema.ReconciliationCursor) -> None:
        """Store the state. Only the caller that reserved the walk may do this."""
        await self._table.write(database.Put(schema.cursor_item(cursor)))
