"""Comments in memory."""

from collections.abc import Callable

from image_poster.adapters.memory.state import MemoryState, Tombstone
from image_poster.domain.comments import Comment, encode_comment
from image_poster.domain.errors import CommentNotFoundError, PostNotFoundError
from image_poster.domain.idempotency import Receipt
from image_poster.domain.identity import Identity
from image_poster.domain.posts import PostStatus, check_open_for_comments
from image_poster.ports.clock import Clock
from image_poster.ports.comment_store import CommentPage


class MemoryCommentStore:
    """`CommentStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def add(self, comment: Comment, receipt: Receipt | None = None) -> None:
        self._state.check_unused(receipt)
        post = self._state.post(comment.post_id)
        check_open_for_comments(post.status, post.creator, comment.creator)
        self._state.keep_receipt(receipt, self._clock.now_ms())
        self._state.comments.setdefault(comment.post_id, {})[comment.id] = comment

    async def page(self, post_id: str, *, limit: int, after: str | None) -> CommentPage:
        newest = self._state.newest_comments(post_id)
        older = [comment for comment in newest if after is None or comment.id < after]
        shown = older[:limit]
        following = shown[-1].id if len(older) > limit else None
        return CommentPage([encode_comment(comment) for comment in shown], following)

    async def update(
        self, post_id: str, comment_id: str, change: Callable[[Comment], Comment]
    ) -> Comment:
        changed = change(self._comment(post_id, comment_id))
        self._state.comments[post_id][comment_id] = changed
        return changed

    async def remove(self, post_id: str, comment_id: str, by: Identity) -> None:
        tombstone = self._state.tombstones.get(comment_id)
        if tombstone is not None and tombstone.user == by.user:
            return
        comment = self._comment(post_id, comment_id)
        by.require(comment.creator, self._state.post(post_id).creator)
        del self._state.comments[post_id][comment_id]
        self._state.tombstones[comment_id] = Tombstone(by.user, self._clock.now_ms(), pending=False)

    def _comment(self, post_id: str, comment_id: str) -> Comment:
        if self._state.post(post_id).status is not PostStatus.READY:
            raise PostNotFoundError
        comment = self._state.comments.get(post_id, {}).get(comment_id)
        if comment is None:
            raise CommentNotFoundError
        return comment
