"""Posts, one by one."""

from collections.abc import Callable
from typing import Protocol

from image_poster.domain.idempotency import Receipt
from image_poster.domain.identity import Identity
from image_poster.domain.posts import Post, StoredPost
from image_poster.tus.decisions import Upload


class PostStore(Protocol):
    """Keeps posts. A post that is `processing` is, by that fact alone, due for image work."""

    async def add(
        self, post: Post, receipt: Receipt | None = None, upload: Upload | None = None
    ) -> None:
        """Keep a new post, and with it the receipt and the terms of its upload. Adding an id that
        is there already changes nothing. Raises `AlreadyAnsweredError`, with nothing kept, if the
        receipt's key was used."""
        ...

    async def find(self, post_id: str) -> StoredPost | None:
        """The post with its counts and latest comments, or None. Sees every write that returned."""
        ...

    async def was_deleted(self, post_id: str) -> bool:
        """Whether the post is known to have been deleted, here and within the last 24 hours, or
        with something of it left to remove. False for a post that was never known: nothing may be
        concluded from that."""
        ...

    async def update(self, post_id: str, change: Callable[[Post], Post]) -> StoredPost:
        """Replace the post by what `change` makes of it, atomically.

        `change` is pure and may run more than once; what it raises comes out, with nothing changed.
        Raises `PostNotFoundError`.
        """
        ...

    async def remove(self, post_id: str, by: Identity) -> None:
        """Delete the post for its creator or an admin. From here on nobody sees it.

        Its comments and pictures are removed afterwards (see `Cleanup`). Repeating it for the user
        whose removal succeeded is a no-op. Raises `PostNotFoundError`, also for a post that `by`
        may not see, and `NotYoursError`.
        """
        ...
