"""Posts in DynamoDB. A post changes by comparing and swapping its `version`. A cache holds which
posts are ready: a warm Lambda reads the post of many comments once."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from image_poster.adapters.dynamodb import database, entries, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.idempotency import (
    check_unused,
    clear_records,
    delete_logged,
    delete_texts,
    put_once,
)
from image_poster.adapters.dynamodb.uploads import PostQuotas
from image_poster.domain.errors import ImagePosterError, NotYoursError, PostNotFoundError
from image_poster.domain.idempotency import KEPT_MS, IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.moderation import Decision, ModerationRecords, Subject, of_owner
from image_poster.domain.posts import Post, PostStatus, StoredPost, is_parked, is_withheld
from image_poster.domain.uploads import Upload
from image_poster.ports import Clock
from image_poster.ports.images import FileRecord
from image_poster.ports.posts import NO_RECORDS

_FEED_KEYS = ("feed", "creator_feed")
_UNFINISHED_KEY = "unfinished"
# Attributes with texts and a hash of the image, which a tombstone does not have.
_DERIVED = ("upload_metadata", "image_hash")


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
        try:
            await self._admit(post.creator, upload)
        except ImagePosterError:
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

    async def _admit(self, creator: str, upload: Upload | None) -> None:
        if self._quotas is not None:
            await self._quotas.check_may_write(creator)
            if upload is not None:
                await self._quotas.admit(creator, upload)

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
        self,
        post_id: str,
        change: Callable[[Post], Post],
        *,
        files: Sequence[FileRecord] = (),
        image_hash: str = "",
        records: ModerationRecords = NO_RECORDS,
    ) -> StoredPost:
        del files  # S3 verifies its objects
        item = await self._table.get(schema.post_key(post_id))
        if item is None or schema.is_tombstone(item):
            raise PostNotFoundError
        before = schema.stored_post(item).post
        after = change(before)
        if after == before:
            return schema.stored_post(item)
        update = self.changing(item, before, after, image_hash=image_hash)
        more = await self._records(after, records)
        if not more:
            return schema.stored_post(await self._table.write(update))
        await self._table.transact([update, *more])
        return schema.stored_post({**item, **update.put})

    async def _records(self, post: Post, records: ModerationRecords) -> list[database.Write]:
        """The writes of a change's decision and entry of the queue."""
        decision = of_owner(records.decision, post.creator)
        writes = await entries.logging_of(self._table, decision)
        if records.entry is None:
            return writes
        subject = Subject(post.id)
        slot = await self._table.get(entries.entry_key(subject, records.entry.kind))
        if entries.is_open(slot):
            return writes
        return [*writes, entries.storing(entries.new_entry(records.entry, subject), slot)]

    @database.retried
    async def remove(
        self,
        post_id: str,
        by: Identity,
        *,
        ended: bool = False,
        decision: Decision | None = None,
    ) -> None:
        try:
            await self._remove(self.removing(post_id, by, ended=ended), decision)
        except database.ConditionFailedError as exc:
            if ended:  # perhaps it awaits no bytes any more: then this is a deletion
                return await self.remove(post_id, by, decision=decision)
            _explain(exc.item, by)
        self._removed(post_id)
        await entries.close_deleted(self._table, Subject(post_id))
        return None

    async def _remove(self, deletion: database.Update, decision: Decision | None) -> None:
        if decision is None:
            await delete_texts(self._table, deletion)
            return
        item = await self._table.get(deletion.key)
        if item is None or schema.is_tombstone(item):
            raise database.ConditionFailedError(item)
        logged = of_owner(decision, str(item["creator"]))
        more = await entries.logging_of(self._table, logged)
        await delete_logged(self._table, deletion, item, more)

    def removing(self, post_id: str, by: Identity, *, ended: bool = False) -> database.Update:
        """The write that turns a post into a tombstone."""
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
                **schema.due_attributes(post_id, now + schema.MOVED_CHECK_MS),
                **({"ended": True} if ended else {}),
            },
            add={"version": 1},
            remove=(*_FEED_KEYS, _UNFINISHED_KEY, schema.STREAM_COUNTED, *_DERIVED),
            when=conditions if by.admin else (*conditions, database.HasValue("creator", by.user)),
        )

    def changing(
        self, item: database.Item, before: Post, after: Post, *, image_hash: str = ""
    ) -> database.Update:
        """The write that replaces a post, whose item must be unchanged."""
        removed = [_UNFINISHED_KEY] if after.status is PostStatus.READY else list(_FEED_KEYS)
        if before.status is PostStatus.AWAITING_UPLOAD is not after.status:
            removed.append("ttl")  # its bytes have come, so it does not expire
        if not is_parked(after):
            removed.append("error")
        changed = schema.post_attributes(after, self._shards)
        if image_hash:
            changed["image_hash"] = image_hash
        if after.status is not before.status:
            now = self._clock.now_ms()
            changed["since_ms"] = now
            check_ms = _check_ms(before, after)
            if check_ms is not None:
                changed |= schema.due_attributes(after.id, now + check_ms)
            else:
                removed += schema.DUE_ATTRIBUTES
        if _is_for_stream(before, after):
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

    async def unpublished_since(self, post_id: str) -> int | None:
        """The time of the hiding or deletion of a post (ms since 1970); None if it is ready, or was
        never ready."""
        item = await self._table.get(schema.post_key(post_id))
        if item is None or "published" not in item or item["status"] == PostStatus.READY:
            return None
        return int(item["since_ms"])

    async def mark_purged(self, post_id: str) -> None:
        """Close the entries of the queue that are left; remove the tombstone's names and its
        scheduled check. An expired post has no tombstone."""
        await entries.close_deleted(self._table, Subject(post_id))
        item = await self._table.get(schema.post_key(post_id))
        if item is None or not schema.is_tombstone(item):
            return
        purged = database.Update(
            schema.key_of(item),
            put={"deleted_by": schema.deleter_mark(str(item["deleted_by"]))},
            remove=("creator", *schema.DUE_ATTRIBUTES),
            when=(database.HasValue("status", schema.DELETED),),
        )
        with suppress(database.ConditionFailedError, database.ConflictError):
            await self._table.write(purged)


def _check_ms(before: Post, after: Post) -> int | None:
    """The time from a change of status to the post's next check; None: no check."""
    if after.status in schema.UNFINISHED:
        return schema.UNFINISHED_CHECK_MS
    if after.status is PostStatus.FAILED:
        return schema.FAILED_CHECK_MS
    has_moved = after.status is PostStatus.HIDDEN or is_withheld(before)
    return schema.MOVED_CHECK_MS if has_moved else None


def _is_for_stream(before: Post, after: Post) -> bool:
    """True if the stream follows the change: an upload has ended, or an edit, which count in the
    creator's usage; or the post was hidden."""
    if after.status is PostStatus.HIDDEN is not before.status:
        return True
    if before.status is PostStatus.AWAITING_UPLOAD is not after.status:
        return True
    return before.status is after.status and before.edited_at != after.edited_at


def _explain(item: database.Item | None, by: Identity) -> None:
    """Raises the reason why a post was not deleted: `PostNotFoundError` or `NotYoursError`. Returns
    if the same user had deleted it before."""
    if item is None:
        raise PostNotFoundError
    if schema.is_tombstone(item):
        if schema.was_deleted_by(item, by.user):
            return
        raise PostNotFoundError
    raise NotYoursError if item["status"] == PostStatus.READY else PostNotFoundError


_CACHE_MS = 60_000
_MAX_CACHED = 10_000


class _ReadyPost(NamedTuple):
    """A cached fact: a post of `creator` is ready, until `until_ms` (since 1970)."""

    creator: str
    until_ms: int


class ReadyPosts:
    """The creators of ready posts, each cached for a minute."""

    def __init__(self, table: BotoTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._posts: OrderedDict[str, _ReadyPost] = OrderedDict()

    def forget(self, post_id: str) -> None:
        """Drop a post from the cache."""
        self._posts.pop(post_id, None)

    async def creator_of(self, post_id: str) -> str | None:
        """The creator of a ready post; None for any other post. An eventually consistent read is
        enough for a ready post; a strongly consistent one precedes a refusal."""
        cached = self._posts.get(post_id)
        if cached is not None and cached.until_ms > self._clock.now_ms():
            return cached.creator
        for consistent in (False, True):
            item = await self._table.get(schema.post_key(post_id), consistent=consistent)
            if item is not None and item["status"] == PostStatus.READY:
                return self._cache(post_id, str(item["creator"]))
        self.forget(post_id)
        return None

    def _cache(self, post_id: str, creator: str) -> str:
        self._posts[post_id] = _ReadyPost(creator, self._clock.now_ms() + _CACHE_MS)
        self._posts.move_to_end(post_id)
        if len(self._posts) > _MAX_CACHED:
            self._posts.popitem(last=False)
        return creator
