"""Comments in DynamoDB. Adding and deleting touch the comment's own item only; the projection
counts."""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from image_poster.adapters.dynamodb.items import (
    AFTER_COMMENTS,
    COMMENT,
    comment_id_of,
    comment_item,
    comment_key,
    doc_of,
    gone_key,
    post_key,
)
from image_poster.adapters.dynamodb.post_store import is_there
from image_poster.adapters.dynamodb.receipts import check_unused, put_once
from image_poster.adapters.dynamodb.retries import attempts
from image_poster.adapters.dynamodb.table import (
    PK,
    ConditionFailedError,
    Conditions,
    ConflictError,
    Exists,
    Is,
    Item,
    Missing,
    Put,
    Query,
    Table,
    Update,
)
from image_poster.domain.comments import Comment, decode_comment, encode_comment
from image_poster.domain.errors import CommentNotFoundError, ImagePosterError, PostNotFoundError
from image_poster.domain.idempotency import Receipt
from image_poster.domain.identity import Identity
from image_poster.domain.posts import PostStatus, check_open_for_comments
from image_poster.ports.clock import Clock
from image_poster.ports.comment_store import CommentPage

_REMEMBERED_MS = 60_000
_MOST_REMEMBERED = 10_000


class _KnownPost(NamedTuple):
    creator: str
    until_ms: int


class DynamoCommentStore:
    """`CommentStore` in DynamoDB. That a post is ready is remembered for a minute: a comment on one
    that was deleted meanwhile is removed by the projection."""

    def __init__(self, table: Table, clock: Clock, *, request_id: Callable[[], str] = str) -> None:
        self._table = table
        self._clock = clock
        self._request_id = request_id
        self._ready: OrderedDict[str, _KnownPost] = OrderedDict()

    async def add(self, comment: Comment, receipt: Receipt | None = None) -> None:
        try:
            await self._check_open(comment)
        except ImagePosterError:
            await check_unused(self._table, receipt, self._clock)
            raise
        item = comment_item(comment, self._request_id())
        await put_once(self._table, Put(item, (Missing(PK),)), receipt, self._clock)

    async def page(self, post_id: str, *, limit: int, after: str | None) -> CommentPage:
        found: list[Item] = []
        before: str | None = AFTER_COMMENTS if after is None else f"{COMMENT}{after}"
        while before is not None and len(found) <= limit:
            query = Query(
                post_key(post_id).pk,
                limit=limit + 1 - len(found),
                before=before,
                without=("deleted_by",),
            )
            items, before = await self._table.query(query, consistent=True)
            found += items
        shown = found[:limit]
        following = comment_id_of(shown[-1]) if len(found) > limit else None
        return CommentPage([doc_of(item) for item in shown], following)

    async def update(
        self, post_id: str, comment_id: str, change: Callable[[Comment], Comment]
    ) -> Comment:
        await self._ready_post(post_id)
        async for _ in attempts():
            item = await self._table.get(comment_key(post_id, comment_id))
            if item is None or "deleted_by" in item:
                raise CommentNotFoundError
            changed = change(decode_comment(doc_of(item)))
            edit = Update(
                comment_key(post_id, comment_id),
                put={"doc": encode_comment(changed).decode(), "request_id": self._request_id()},
                when=(Is("doc", item["doc"]), Missing("deleted_by")),
            )
            try:
                await self._table.write(edit)
            except (ConditionFailedError, ConflictError):
                continue
            return changed
        raise AssertionError  # `attempts` ends with an error of its own

    async def remove(self, post_id: str, comment_id: str, by: Identity) -> None:
        only_their_own: Conditions = (Is("creator", by.user),)
        async for _ in attempts():
            try:
                await self._table.write(self._mark(post_id, comment_id, by, only_their_own))
            except ConditionFailedError as exc:
                if exc.item is None or "deleted_by" in exc.item:
                    await self._check_gone_by(post_id, comment_id, by, exc.item)
                    return
                post = await self._ready_post(post_id)
                by.require(str(exc.item["creator"]), str(post["creator"]))
                only_their_own = ()
                continue
            except ConflictError:
                continue
            return

    def _mark(self, post_id: str, comment_id: str, by: Identity, conditions: Conditions) -> Update:
        return Update(
            comment_key(post_id, comment_id),
            put={"deleted_by": by.user, "request_id": self._request_id()},
            when=(Exists(PK), Missing("deleted_by"), *conditions),
        )

    async def _check_gone_by(
        self, post_id: str, comment_id: str, by: Identity, found: Item | None
    ) -> None:
        """Pass whoever deleted it; the projection may have removed the comment already."""
        mark = found or await self._table.get(gone_key(post_id, comment_id))
        if mark is not None and mark["deleted_by"] == by.user:
            return
        await self._ready_post(post_id)
        raise CommentNotFoundError

    async def _ready_post(self, post_id: str) -> Item:
        item = await self._table.get(post_key(post_id))
        if item is None or item["status"] != PostStatus.READY:
            raise PostNotFoundError
        return item

    async def _check_open(self, comment: Comment) -> None:
        """Raises what `check_open_for_comments` does. A read that may be a moment old is enough for
        a yes; a no is looked at once more."""
        known = self._ready.get(comment.post_id)
        if known is not None and known.until_ms > self._clock.now_ms():
            return
        for consistent in (False, True):
            item = await self._table.get(post_key(comment.post_id), consistent=consistent)
            if item is not None and item["status"] == PostStatus.READY:
                self._remember(comment.post_id, str(item["creator"]))
                return
        self._ready.pop(comment.post_id, None)
        if item is None or not is_there(item):
            raise PostNotFoundError
        check_open_for_comments(str(item["status"]), str(item["creator"]), comment.creator)

    def _remember(self, post_id: str, creator: str) -> None:
        self._ready[post_id] = _KnownPost(creator, self._clock.now_ms() + _REMEMBERED_MS)
        self._ready.move_to_end(post_id)
        if len(self._ready) > _MOST_REMEMBERED:
            self._ready.popitem(last=False)
