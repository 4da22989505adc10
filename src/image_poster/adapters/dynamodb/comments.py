"""Comments in DynamoDB. Adding and deleting write the comment's own item only. A later transaction
counts them, with up to 97 writes of comments and at most three for their post.

The transaction marks each comment as `counted`, and compares and swaps the post's `version`. So no
comment is counted twice, in spite of concurrent counters and crashes."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from image_poster.adapters.dynamodb import boto, database, entries, schema
from image_poster.adapters.dynamodb.boto import BackoffBudget, BotoTable
from image_poster.adapters.dynamodb.idempotency import (
    check_unused,
    clear_records,
    delete_logged,
    delete_texts,
    put_once,
)
from image_poster.adapters.dynamodb.posts import ReadyPosts
from image_poster.adapters.dynamodb.standing import WriterCheck, accept_writer, check_not_blocked
from image_poster.domain.comments import (
    Comment,
    CommentState,
    Fold,
    Tally,
    decode_comment,
    encode_comment,
    fold,
    needs_newest,
)
from image_poster.domain.errors import CommentNotFoundError, ImagePosterError, PostNotFoundError
from image_poster.domain.feed import EPOCH_MS, CurrentRank, change_rank, epoch_of
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.limits import LATEST_KEPT, take_page
from image_poster.domain.moderation import Decision, Subject, of_owner
from image_poster.domain.posts import PostStatus, check_open_for_comments
from image_poster.domain.signing import Page
from image_poster.ports import Clock


class DynamoCommentStore:
    """`CommentStore` in DynamoDB. It caches for a minute that a post is ready.

    If the post is deleted in that minute, `DynamoCommentCounter` removes new comments on it. If it
    is hidden in that minute, new comments are counted as any other. Nobody sees them until the post
    is restored; then the count is true.
    """

    def __init__(
        self,
        table: BotoTable,
        clock: Clock,
        *,
        request_id: Callable[[], str] = str,
        check_may_write: WriterCheck = accept_writer,
    ) -> None:
        self._table = table
        self._clock = clock
        self._request_id = request_id
        self._check_may_write = check_may_write
        self._ready = ReadyPosts(table, clock)

    def forget(self, post_id: str) -> None:
        """Drop a post from the cache of ready posts, since this process deleted or hid it."""
        self._ready.forget(post_id)

    async def add(
        self, comment: Comment, record: IdempotencyRecord | None = None, *, by_admin: bool = False
    ) -> None:
        author = Identity(comment.creator, admin=by_admin)
        try:
            await self._check_may_write(comment.creator)
            await self._check_open(comment.post_id, author)
        except ImagePosterError:
            await check_unused(self._table, record, self._clock)
            raise
        item = schema.comment_item(comment, self._request_id())
        await put_once(self._table, item, record, self._clock)

    async def page(self, post_id: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        newest: list[database.Item] = []
        before: str | None = schema.AFTER_COMMENTS if after is None else f"{schema.COMMENT}{after}"
        while before is not None and len(newest) <= limit:
            query = database.Query(
                schema.post_key(post_id).pk,
                limit=limit + 1 - len(newest),
                before=before,
                without=("deleted_by",),
            )
            items, before = await self._table.query(query, consistent=True)
            newest += items
        shown, more = take_page(newest, limit, lambda item: len(schema.doc_of(item)))
        following = schema.comment_id_of(shown[-1]) if more else None
        return Page([schema.doc_of(item) for item in shown], following)

    async def find(self, post_id: str, comment_id: str) -> bytes:
        item = await self._table.get(schema.comment_key(post_id, comment_id))
        if item is None or "deleted_by" in item:
            raise CommentNotFoundError
        return schema.doc_of(item)

    async def update(
        self, post_id: str, comment_id: str, change: Callable[[Comment], Comment]
    ) -> Comment:
        post = await self._require_ready_post(post_id)
        return await self._update(post_id, comment_id, change, str(post["creator"]))

    @database.retried
    async def _update(
        self, post_id: str, comment_id: str, change: Callable[[Comment], Comment], creator: str
    ) -> Comment:
        document = await self.find(post_id, comment_id)
        changed = change(decode_comment(document))
        await self._check_may_write(changed.creator)
        await check_not_blocked(self._table, changed.creator, creator)
        edit = database.Update(
            schema.comment_key(post_id, comment_id),
            put={"doc": encode_comment(changed).decode(), "request_id": self._request_id()},
            when=(database.HasValue("doc", document.decode()), database.Lacks("deleted_by")),
        )
        await self._table.write(edit)
        return changed

    @database.retried
    async def remove(
        self, post_id: str, comment_id: str, by: Identity, *, decision: Decision | None = None
    ) -> None:
        try:
            await self._remove(post_id, comment_id, by, decision)
        except (database.ConditionFailedError, PostNotFoundError) as exc:
            await self._check_gone_by(post_id, comment_id, by, exc)
        await entries.close_deleted(self._table, Subject(post_id, comment_id))

    async def _remove(
        self, post_id: str, comment_id: str, by: Identity, decision: Decision | None
    ) -> None:
        """Mark the comment as deleted. Raises `ConditionFailedError` if it is deleted or missing,
        `PostNotFoundError` and `NotYoursError`."""
        if not by.admin:
            await self._check_concerned(post_id, comment_id, by)
        deletion = self.removing(post_id, comment_id, by)
        if decision is not None:
            await self._remove_logged(deletion, decision)
            return
        own = database.HasValue("creator", by.user)
        try:
            await delete_texts(self._table, deletion._replace(when=(*deletion.when, own)))
        except database.ConditionFailedError as exc:
            if exc.item is None or "deleted_by" in exc.item:
                raise
            post = await self._table.get(schema.post_key(post_id)) or {}
            by.require(str(exc.item["creator"]), str(post.get("creator", exc.item["creator"])))
            await delete_texts(self._table, deletion)

    async def _check_concerned(self, post_id: str, comment_id: str, by: Identity) -> None:
        """Raises `PostNotFoundError` if the post is not ready, unless the post or the comment is
        the user's own."""
        if await self._ready.creator_of(post_id) is not None:
            return
        post = await self._table.get(schema.post_key(post_id))
        comment = await self._table.get(schema.comment_key(post_id, comment_id))
        if post is None or schema.is_tombstone(post):
            raise PostNotFoundError
        if by.user not in {post["creator"], comment["creator"] if comment else None}:
            raise PostNotFoundError

    async def _remove_logged(self, deletion: database.Update, decision: Decision) -> None:
        item = await self._table.get(deletion.key)
        if item is None or "deleted_by" in item:
            raise database.ConditionFailedError(item)
        logged = of_owner(decision, str(item["creator"]))
        more = await entries.logging_of(self._table, logged)
        await delete_logged(self._table, deletion, item, more)

    def removing(self, post_id: str, comment_id: str, by: Identity) -> database.Update:
        """The write that marks a comment as deleted; the counter removes it."""
        return database.Update(
            schema.comment_key(post_id, comment_id),
            put={"deleted_by": by.user, "doc": "", "request_id": self._request_id()},
            remove=("author",),
            when=(database.Has(database.PK), database.Lacks("deleted_by")),
        )

    async def _check_gone_by(
        self, post_id: str, comment_id: str, by: Identity, reason: Exception
    ) -> None:
        """Return if this user deleted the comment, also if only its mark is left. Raises
        `PostNotFoundError` and `CommentNotFoundError`."""
        item = await self._table.get(schema.comment_key(post_id, comment_id))
        mark = item or await self._table.get(schema.gone_key(post_id, comment_id))
        if mark is not None and schema.was_deleted_by(mark, by.user):
            return
        if isinstance(reason, PostNotFoundError):
            raise reason
        if by.admin:
            post = await self._table.get(schema.post_key(post_id))
            if post is None or schema.is_tombstone(post):
                raise PostNotFoundError
        else:
            await self._require_ready_post(post_id)
        raise CommentNotFoundError

    async def _require_ready_post(self, post_id: str) -> database.Item:
        item = await self._table.get(schema.post_key(post_id))
        if item is None or item["status"] != PostStatus.READY:
            raise PostNotFoundError
        return item

    async def _check_open(self, post_id: str, author: Identity) -> None:
        """Raises the errors of `check_open_for_comments`, `PostNotFoundError` and
        `BlockedError`."""
        creator = await self._ready.creator_of(post_id)
        if creator is not None:
            await check_not_blocked(self._table, author.user, creator)
            return
        item = await self._table.get(schema.post_key(post_id))
        if item is None or schema.is_tombstone(item):
            raise PostNotFoundError
        check_open_for_comments(str(item["status"]), str(item["creator"]), author)


# The other three: the post, its new past rank, and the deletion of a past rank that was written by
# a clock that was ahead (`_current_rank`).
_MAX_WRITES = database.MAX_IN_TRANSACTION - 3
# Clocks of Lambdas differ by less than a minute.
_MAX_EPOCHS_AHEAD = 60_000 // EPOCH_MS


class DynamoCommentCounter:
    """Updates posts' counts and latest comments after a comment's own write; exact however often it
    is called."""

    def __init__(
        self, table: BotoTable, clock: Clock, *, latest_kept: int = LATEST_KEPT, shards: int = 1
    ) -> None:
        self._table = table
        self._clock = clock
        self.latest_kept = latest_kept
        self._shards = shards

    async def count(
        self, post_id: str, comment_ids: Iterable[str], budget: BackoffBudget | None = None
    ) -> None:
        """Apply the current state of these comments to their post: new, edited, deleted, or already
        counted. Comments of a deleted post are removed. The post may be in any state."""
        waiting, budget = sorted(set(comment_ids)), budget or BackoffBudget()
        await budget.work_through(waiting, _MAX_WRITES, partial(self._count_some, post_id))

    @database.retried
    async def _count_some(self, post_id: str, comment_ids: list[str]) -> int:
        """Count as many of these comments, in order, as fit in one transaction. Returns how many
        are done."""
        post = await self._table.get(schema.post_key(post_id))
        keys = [schema.comment_key(post_id, comment_id) for comment_id in comment_ids]
        comments = sorted(await self._table.get_many(keys), key=schema.comment_id_of)
        if post is None or schema.is_tombstone(post):
            await clear_records(self._table, comments)
            await self._table.delete_many([schema.key_of(item) for item in comments])
            return len(comment_ids)
        states = [state_of(item) for item in comments]
        batch = list(_affordable(states))
        if writes := await self._writes(post, post_id, batch):
            await self._table.transact(writes)
        if len(batch) == len(states):
            return len(comment_ids)
        return comment_ids.index(batch[-1].id) + 1

    async def _writes(
        self, post: database.Item, post_id: str, batch: list[CommentState]
    ) -> list[database.Write]:
        before = tally_of(post)
        newest: list[bytes] | None = None
        if needs_newest(before, batch, self.latest_kept):
            newest = await boto.newest_counted(self._table, post_id, self.latest_kept)
        result = fold(before, batch, newest, self.latest_kept)
        writes = list(self._comment_writes(post_id, result))
        if result.tally != before:
            writes += self.tally_writes(post, result.tally)
        return writes

    def tally_writes(self, post: database.Item, tally: Tally, **more: str) -> list[database.Write]:
        """Writes that store the new tally, if the post's version is unchanged, and the rank that it
        replaces as a past rank."""
        epoch = epoch_of(self._clock.service_ms())
        post_id = str(post["id"])
        before, repairs = _current_rank(post, epoch)
        rank, past = change_rank(post_id, before, tally.total, epoch)
        update = database.Update(
            schema.key_of(post),
            put={
                "total": tally.total,
                "latest": tally.latest.decode(),
                "rank": schema.rank_key(post_id, rank),
                **more,
            },
            add={"version": 1},
            remove=(schema.STREAM_COUNTED,) if schema.STREAM_COUNTED in post else (),
            # Whatever state the post is in: deleting it changes the version too.
            when=(database.HasValue("version", post["version"]),),
        )
        if past is None or "published" not in post:
            return [update, *repairs]
        keys = schema.feed_keys(post, self._shards)
        return [update, *repairs, database.Put(schema.past_rank_item(past, keys))]

    def _comment_writes(self, post_id: str, result: Fold) -> Iterator[database.Write]:
        for comment in result.claimed:
            yield database.Update(
                schema.comment_key(post_id, comment.id),
                put={"counted": True},
                when=(
                    database.Has(database.PK),
                    database.HasValue("counted", value=False),
                    database.Lacks("deleted_by"),
                ),
            )
        for comment in (*result.released, *result.dropped):
            yield database.Delete(
                schema.comment_key(post_id, comment.id),
                (database.Has("deleted_by"), database.HasValue("counted", comment.counted)),
            )
            yield database.Put(schema.gone_item(comment, post_id, self._clock.now_ms()))


def _current_rank(post: database.Item, epoch: int) -> tuple[CurrentRank, list[database.Write]]:
    """The current rank of a post, and the writes that repair it. If a clock that was ahead wrote
    it, it is taken as valid since `ALWAYS`. The past rank of that write is deleted."""
    rank = schema.current_rank(post)
    if rank.since <= epoch + _MAX_EPOCHS_AHEAD:
        return rank, []
    past = schema.past_rank_key(str(post["id"]), rank.since)
    return CurrentRank(rank.total), [database.Delete(past)]


def tally_of(post: database.Item) -> Tally:
    """The tally in the post's item: count and latest comments."""
    return Tally(int(post["total"]), str(post["latest"]).encode())


def state_of(item: database.Item) -> CommentState:
    """The state of a comment's item, for `fold`."""
    deleted_by = item.get("deleted_by")
    return CommentState(
        schema.comment_id_of(item),
        schema.doc_of(item),
        counted=bool(item["counted"]),
        deleted_by=None if deleted_by is None else str(deleted_by),
    )


def _affordable(states: list[CommentState]) -> Iterator[CommentState]:
    """Yield as many comments as fit in one transaction: a claim is one write, a removal two."""
    writes = 0
    for state in states:
        writes += 2 if state.is_deleted else not state.counted
        if writes > _MAX_WRITES:
            return
        yield state
