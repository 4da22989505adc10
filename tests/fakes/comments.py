"""Comments in memory."""

from collections.abc import Callable

from fakes.state import MemoryState
from image_poster.domain import errors
from image_poster.domain.comments import Comment, encode_comment
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.limits import take_page
from image_poster.domain.moderation import Decision
from image_poster.domain.posts import PostStatus, check_open_for_comments
from image_poster.domain.signing import Page
from image_poster.ports import Clock


class MemoryCommentStore:
    """`CommentStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def add(
        self, comment: Comment, record: IdempotencyRecord | None = None, *, by_admin: bool = False
    ) -> None:
        self._state.check_unused(record)
        self._state.check_standing(comment.creator, self._clock.now_ms())
        post = self._state.post(comment.post_id)
        author = Identity(comment.creator, admin=by_admin)
        check_open_for_comments(post.status, post.creator, author)
        self._state.check_unblocked(comment.creator, post.creator)
        self._state.keep_record(record, self._clock.service_ms())
        self._state.comments.setdefault(comment.post_id, {})[comment.id] = comment
        self._state.recount(comment.post_id, self._clock.service_ms())

    async def page(self, post_id: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        newest = self._state.newest_comments(post_id)
        older = [comment for comment in newest if after is None or comment.id < after]
        shown, more = take_page(older, limit, lambda comment: len(encode_comment(comment)))
        following = shown[-1].id if more else None
        return Page([encode_comment(comment) for comment in shown], following)

    async def find(self, post_id: str, comment_id: str) -> bytes:
        comment = self._state.comments.get(post_id, {}).get(comment_id)
        if comment is None:
            raise errors.CommentNotFoundError
        return encode_comment(comment)

    async def update(
        self, post_id: str, comment_id: str, change: Callable[[Comment], Comment]
    ) -> Comment:
        changed = change(self._comment(post_id, comment_id))
        self._state.check_standing(changed.creator, self._clock.now_ms())
        self._state.check_unblocked(changed.creator, self._state.post(post_id).creator)
        self._state.comments[post_id][comment_id] = changed
        return changed

    async def remove(
        self, post_id: str, comment_id: str, by: Identity, *, decision: Decision | None = None
    ) -> None:
        tombstone = self._state.tombstones.get(comment_id)
        if tombstone is not None and tombstone.user == by.user:
            return
        post = self._state.post(post_id)
        comment = self._state.comments.get(post_id, {}).get(comment_id)
        concerned = {post.creator} | ({comment.creator} if comment else set())
        if not by.admin and by.user not in concerned:
            self._comment(post_id, comment_id)
        comment = self._comment(post_id, comment_id, ready_only=False)
        by.require(comment.creator, post.creator)
        self._state.delete_comment(post_id, comment_id, by.user, self._clock.service_ms())
        self._state.log(decision, comment.creator)

    def _comment(self, post_id: str, comment_id: str, *, ready_only: bool = True) -> Comment:
        if ready_only and self._state.post(post_id).status is not PostStatus.READY:
            raise errors.PostNotFoundError
        self._state.post(post_id)
        comment = self._state.comments.get(post_id, {}).get(comment_id)
        if comment is None:
            raise errors.CommentNotFoundError
        return comment
