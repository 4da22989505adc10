"""Comments."""

from collections.abc import Callable
from typing import Protocol

from image_poster.domain.comments import Comment
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.moderation import Decision
from image_poster.domain.signing import Page


class CommentStore(Protocol):
    """Stores comments. A post's `total_comments` is the number of its comments, and its latest are
    the newest `LATEST_KEPT` of them. On one machine both are exact when a call returns, on AWS soon
    after."""

    async def add(
        self, comment: Comment, record: IdempotencyRecord | None = None, *, by_admin: bool = False
    ) -> None:
        """Store a new comment, by an admin or another user, and its idempotency record.

        Raises `AlreadyAnsweredError`, with nothing stored, if the record's key was used; else
        `BannedError` or `AccountDeletedError` if the author may not write (nothing else checks
        that); `PostNotFoundError` or `PostNotReadyError` by `domain.posts.check_open_for_comments`;
        `BlockedError` if the author or the post's creator blocks the other; `StorageFullError`
        while the disk is full.
        """
        ...

    async def page(self, post_id: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        """At most `limit` documents of comments older than the id `after`, newest first, and the id
        after which the next page starts."""
        ...

    async def find(self, post_id: str, comment_id: str) -> bytes:
        """The document of a comment, after every write that returned. Raises
        `CommentNotFoundError`."""
        ...

    async def update(
        self, post_id: str, comment_id: str, change: Callable[[Comment], Comment]
    ) -> Comment:
        """Replace the comment by the result of `change`, atomically, as `PostStore.update` does.

        Raises `BlockedError` as `add` does, `CommentNotFoundError`, `PostNotFoundError` when the
        post is not there or not ready, and `StorageFullError`.
        """
        ...

    async def remove(
        self, post_id: str, comment_id: str, by: Identity, *, decision: Decision | None = None
    ) -> None:
        """Delete the comment for its author, the post's creator or an admin. Its text is gone when
        this returns, from idempotency records too. Its open entries are closed with the outcome
        `deleted`. `decision` is logged by the rule of `domain.moderation.of_owner`, unless the
        deletion repeats one.

        For any other user, a post that is not ready does not exist. Repeating it for the user whose
        removal succeeded is a no-op. Raises `CommentNotFoundError`, `PostNotFoundError` and
        `NotYoursError`.
        """
        ...
