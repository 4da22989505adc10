"""Posts, one by one, their image work, and the tombstones of deleted ones.

Due image work is leased from a queue of posts (one machine). On AWS, events start it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.images import RenderedImage
from image_poster.domain.moderation import Decision, ModerationRecords
from image_poster.domain.posts import Post, StoredPost
from image_poster.domain.uploads import Upload
from image_poster.ports.images import FileRecord

NO_RECORDS = ModerationRecords()


class PostStore(Protocol):
    """Stores posts. A post that is `processing` is, by that fact alone, due for image work."""

    async def add(
        self,
        post: Post,
        record: IdempotencyRecord | None = None,
        upload: Upload | None = None,
        *,
        image_bytes: int = 0,
        instead_of: IdempotencyRecord | None = None,
    ) -> None:
        """Store a new post, its idempotency record and the terms of its upload. Adding an existing
        id changes nothing. Counts the upload, or the `image_bytes` that came with the request, in
        the creator's quota (`UploadQuota`).

        Raises `AlreadyAnsweredError`, with nothing stored, if the record's key was used, unless by
        `instead_of`, which `record` then replaces. Raises `RateLimitedError`, with nothing stored,
        and `StorageFullError`.
        """
        ...

    async def find(self, post_id: str) -> StoredPost | None:
        """The post with its counts and latest comments, or None. Sees every write that returned."""
        ...

    async def is_ready(self, post_id: str) -> bool:
        """Return True if the post exists and its image may be shown. Cheaper than `find`."""
        ...

    async def was_deleted(self, post_id: str) -> bool:
        """Return True if the post is known to have been deleted: here and within the last 7 days,
        or with data left to purge. False for an unknown post, which proves nothing."""
        ...

    async def was_aborted(self, post_id: str) -> bool:
        """Return True if the deleted post was an unfinished upload that was aborted or expired, not
        a post that a person deleted. Known for as long as `was_deleted`."""
        ...

    async def update(
        self,
        post_id: str,
        change: Callable[[Post], Post],
        *,
        files: Sequence[FileRecord] = (),
        image_hash: str = "",
        records: ModerationRecords = NO_RECORDS,
    ) -> StoredPost:
        """Replace the post by the result of `change`, and the records of its `files`, atomically.

        `change` is pure and may run more than once; its exceptions propagate, with nothing changed.
        If it changes the post, `records` are added to the log and the queue, the decision by the
        rule of `domain.moderation.of_owner`. `image_hash` is stored, unless empty, for a decision
        that blocks the image. Raises `PostNotFoundError`, and `StorageFullError` for an edit.
        """
        ...

    async def remove(
        self,
        post_id: str,
        by: Identity,
        *,
        ended: bool = False,
        decision: Decision | None = None,
    ) -> None:
        """Delete the post for its creator or an admin, and leave a tombstone. From here on nobody
        sees it. `ended`: its upload is aborted; see `was_aborted`. The open entries of the post and
        of its comments are closed with the outcome `deleted`. `decision` is logged by the rule of
        `domain.moderation.of_owner`, unless the deletion repeats one.

        Its texts are gone when this returns, from idempotency records too. Its comments and images
        are purged afterwards. Repeating it for the user whose removal succeeded is a no-op. Raises
        `PostNotFoundError`, also for a post that `by` may not see, and `NotYoursError`.
        """
        ...


class PostNotifier(Protocol):
    """Wakes tasks that wait for image work or for its end. Notifications are hints: one may be
    lost, or come without cause."""

    def notify(self, post_id: str) -> None:
        """Notify that the post has become `processing`, or has left it. Call it once that is
        durable."""
        ...

    async def wait(self, post_id: str | None, seconds: float) -> None:
        """Wait for a notification of this post (None: of any), at most `seconds`. None is missed
        that comes after the call."""
        ...


class PendingReview(msgspec.Struct, frozen=True):
    """An image that waits for the review hook: the renditions, and the number of tries so far."""

    rendered: RenderedImage
    tries: int = 0


class HookReviews(Protocol):
    """Posts that the review hook decides about. Such a post is `processing`, and its renditions are
    withheld."""

    async def begin(self, post_id: str, review: PendingReview, files: Sequence[FileRecord]) -> None:
        """Have the hook asked about a `processing` post, now or later, with the records of its
        files. A no-op for any other post."""
        ...


class ReviewQueue(HookReviews, Protocol):
    """Posts that wait for the review hook, each with one worker at a time, at least once (one
    machine). Such a post is no job: its image work is done. It is due at once. Its wait ends when
    it leaves `processing`."""

    async def lease(self, lease_ms: int) -> tuple[str, PendingReview] | None:
        """Lease the next due post to this caller for `lease_ms`; None if there is none."""
        ...

    async def retry(self, post_id: str, *, delay_ms: int) -> None:
        """Count a failed try, and make the post due again after `delay_ms`. A no-op if the post
        left `processing`."""
        ...


class TombstoneStore(Protocol):
    """Tombstones of deleted posts. Purging goes in small steps, so that a crash only delays it."""

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        """Remove up to `limit` comments of a deleted post, from idempotency records too; False when
        none was left."""
        ...

    async def mark_purged(self, post_id: str) -> None:
        """Record that all data of this deleted post is gone."""
        ...


class TombstoneQueue(TombstoneStore, Protocol):
    """A queue of deleted posts until they are purged, where no event tells of a deletion (one
    machine)."""

    async def pending(self, limit: int, after: str = "", *, by: str | None = None) -> list[str]:
        """Ids of deleted posts with data left to purge, in order, from behind `after`. `by` selects
        the posts that this user deleted (empty: the service); None selects all."""
        ...

    async def forget(self, *, service_ms: int, now_ms: int) -> None:
        """Delete tombstones and idempotency records whose `KEPT_MS` are over
        (`domain.ids.is_over`). Then repeating the deletion is a 404.

        Posts with data left to purge are kept. The lifetime of records from a clock in 1970 begins
        anew (`domain.ids.EARLIEST_MS`).
        """
        ...


class Job(NamedTuple):
    """The image work of one post: the number of leases (with this one), and the number of failures.
    The other leases ended because their holder's process ended. `trace` is the `traceparent` of the
    request that caused the work, if it was traced."""

    post_id: str
    leases: int
    failures: int
    trace: str | None = None


class ParkedJob(NamedTuple):
    """A job that was given up, and its last error."""

    post_id: str
    leases: int
    error: str


class JobQueue(Protocol):
    """Hands out posts that are `processing`, each to one worker at a time, at least once (one
    machine)."""

    async def lease(self, lease_ms: int) -> Job | None:
        """Lease the next job to this caller for `lease_ms`; None if there is none. When the lease
        expires with the post still `processing`, the job is due again.

        Users alternate (round-robin); of one user's jobs, the oldest comes first.
        """
        ...

    async def retry(self, job: Job, *, delay_ms: int, error: str) -> None:
        """Count a failure and make the job due again after `delay_ms`. A no-op if the post left
        `processing`."""
        ...

    async def postpone(self, job: Job, *, delay_ms: int, error: str) -> None:
        """Make the job due again after `delay_ms`, as if it had not been leased. A no-op if the
        post left `processing`."""
        ...

    async def park(self, job: Job, *, error: str) -> None:
        """Give the job up: the post fails with `PROCESSING_FAILED`, and an operator can list and
        replay the job. A no-op if the post left `processing`."""
        ...

    async def expired_failures(self, before_ms: int, limit: int) -> list[str]:
        """The ids of up to `limit` posts that have been `failed` since before that time of the
        service clock, the longest first."""
        ...

    async def parked(self) -> list[ParkedJob]:
        """The parked jobs, oldest post first."""
        ...

    async def replay(self, post_id: str) -> bool:
        """Make a parked job due again, as if it were new; False if it is not parked."""
        ...
