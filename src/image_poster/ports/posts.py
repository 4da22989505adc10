"""Posts, one by one, and what is left of those that were deleted."""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, Protocol

from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.posts import Post, PostStatus, StoredPost
from image_poster.domain.uploads import Upload


class PostStore(Protocol):
    """Keeps posts. A post that is `processing` is, by that fact alone, due for image work."""

    async def add(
        self,
        post: Post,
        record: IdempotencyRecord | None = None,
        upload: Upload | None = None,
        *,
        instead_of: IdempotencyRecord | None = None,
    ) -> None:
        """Keep a new post, and with it the idempotency record and the terms of its upload. Adding
        an id that is there already changes nothing. Raises `AlreadyAnsweredError`, with nothing
        kept, if the record's key was used, unless by `instead_of`, which `record` then replaces.
        Raises `StorageFullError`."""
        ...

    async def find(self, post_id: str) -> StoredPost | None:
        """The post with its counts and latest comments, or None. Sees every write that returned."""
        ...

    async def is_ready(self, post_id: str) -> bool:
        """Whether there is such a post and its image is to be seen. Cheaper than `find`."""
        ...

    async def was_deleted(self, post_id: str) -> bool:
        """Whether the post is known to have been deleted, here and within the last 7 days, or
        with something of it left to purge. False for a post that was never known: nothing may be
        concluded from that."""
        ...

    async def was_aborted(self, post_id: str) -> bool:
        """Whether the deleted post was an upload whose bytes had not all come, and which was ended
        or ran out, rather than a post that a person deleted. Known for as long as `was_deleted`."""
        ...

    async def update(self, post_id: str, change: Callable[[Post], Post]) -> StoredPost:
        """Replace the post by what `change` makes of it, atomically.

        `change` is pure and may run more than once; what it raises comes out, with nothing changed.
        Raises `PostNotFoundError`, and `StorageFullError` for an edit.
        """
        ...

    async def remove(self, post_id: str, by: Identity, *, ended: bool = False) -> None:
        """Delete the post for its creator or an admin, and leave a tombstone. From here on nobody
        sees it. `ended`: its upload is what ends; see `was_aborted`.

        Its texts are gone when this returns, from idempotency records too. Its comments and images
        are purged afterwards. Repeating it for the user whose removal
        succeeded is a no-op. Raises `PostNotFoundError`, also for a post that `by` may not see, and
        `NotYoursError`.
        """
        ...


class PostNotifier(Protocol):
    """Wakes who waits for image work, or for its end. Nobody may rely on it: a ring may be lost,
    and be for nothing."""

    def notify(self, post_id: str) -> None:
        """Say that the post has come to be `processing`, or is so no longer. To be called once that
        is durable."""
        ...

    async def wait(self, post_id: str | None, seconds: float) -> None:
        """Return when it was rung for this post (None: for any), or when the time is over. What is
        rung from the moment of the call on is heard."""
        ...


class TombstoneStore(Protocol):
    """What is left of deleted posts. Purging goes in small steps, so that a crash only delays
    it."""

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        """Remove up to `limit` comments of a deleted post, from idempotency records too; False when
        none was left."""
        ...

    async def mark_purged(self, post_id: str) -> None:
        """Everything of this deleted post is gone."""
        ...


class PublishedTombstones(TombstoneStore, Protocol):
    """Where images of ready posts are copied by somebody else, such as a CDN."""

    async def was_published(self, post_id: str) -> bool:
        """Whether this deleted post had ever been ready."""
        ...


class DuePost(NamedTuple):
    """A post for which an event is overdue: where it is in its life (None: it was deleted), and
    since when (ms since 1970)."""

    post_id: str
    status: PostStatus | None
    since_ms: int


class ScheduledChecks(Protocol):
    """Where events begin all work: posts that are not at rest, and when to look whether their event
    has got lost."""

    def due(self) -> AsyncIterator[DuePost]:
        """Posts that await their image, are `processing`, or were deleted and not purged, and are
        to be looked at by now."""
        ...

    async def reschedule(self, post_id: str, at_ms: int | None) -> None:
        """Look at it not before then; None: never. A no-op for a post that is at rest."""
        ...


class TombstoneQueue(TombstoneStore, Protocol):
    """Where nothing else tells of deletions: remembers deleted posts until they are purged."""

    async def pending(self, limit: int, after: str = "") -> list[str]:
        """Ids of deleted posts of which something is left, in their order, from behind `after`."""
        ...

    async def forget(self, *, service_ms: int, now_ms: int) -> None:
        """Forget deletions (repeating one is a 404 from now on) and idempotency records whose
        `KEPT_MS` are over (`domain.ids.is_over`). Posts with data left to purge are kept. Those of
        a clock in 1970 begin anew (`domain.ids.EARLIEST_MS`)."""
        ...
