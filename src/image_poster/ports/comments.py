"""Comments."""

from collections.abc import Callable
from typing import Protocol

from image_poster.domain.comments import Comment
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.signing import Page


class CommentStore(Protocol):
    """Stores comments. A post's `total_comments` is the number of its comments, and its latest are
    the newest `LATEST_KEPT` of them. On one machine both are exact when a call returns, on AWS soon
    after."""

    async def add(self, comment: Comment, record: IdempotencyRecord | None = None) -> None:
        """Store a new comment and its idempotency record.

        Raises `AlreadyAnsweredError`, with nothing stored, if the record's key was used; else
        `PostNotFoundError` or `PostNotReadyError` by `domain.posts.check_open_for_comments`;
        `StorageFullError` while the disk is full.
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

        Raises `CommentNotFoundError`, `PostNotFoundError` when the post is not there or not ready,
        and `StorageFullError`.
        """
        ...

    async def remove(self, post_id: str, comment_id: str, by: Identity) -> None:
        """Delete the comment for its author, the post's creator or an admin. Its text is gone when
        this returns, from idempotency records too.

        Repeating it for the user whose removal succeeded is a no-op. Raises `CommentNotFoundError`,
        `PostNotFoundError` and `NotYoursError`.
        """
        ...
