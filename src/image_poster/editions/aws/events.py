"""Work that events start: the changes in a batch of the table's stream, and the image work of a
stored image. Every event may be delivered twice, and in any order."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from image_poster.adapters.dynamodb.comments import DynamoCommentCounter
from image_poster.adapters.dynamodb.jobs import DynamoFailureCounter, DynamoScheduledChecks
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.stream import (
    PostChanges,
    PostEvent,
    StreamRecord,
    changes_by_post,
)
from image_poster.domain.errors import ImagePosterError, PostNotFoundError
from image_poster.domain.images import ImageWorkFailedError
from image_poster.domain.posts import (
    PROCESSING_FAILED,
    PostStatus,
    failed_post,
    replayed_post,
    uploaded_post,
)
from image_poster.editions.logs import emf
from image_poster.ports.images import ImageStore
from image_poster.ports.posts import PostStore
from image_poster.services.images import (
    MAX_FAILURES,
    ImagePublisher,
    error_text,
    remove_if_deleted,
)
from image_poster.services.posts import PostPurger

PostAction = Callable[[str], Awaitable[None]]
_log = structlog.get_logger()


@dataclass(frozen=True)
class ChangeApplier:
    """Applies a batch of the stream's records, post by post: first all counts, then the steps that
    follow.

    Counting uses the table only, so no fault of the image storage or the CDN delays it. Only a
    failed count has its records delivered again. A failed step that follows is due at once, for
    `Reconciler`. `start_image_work` starts it for a post whose image is complete.
    """

    counter: DynamoCommentCounter
    start_image_work: PostAction
    purger: PostPurger
    checks: DynamoScheduledChecks

    async def apply(self, records: list[StreamRecord]) -> list[str]:
        """Apply a batch; return the sequence numbers from which it must be delivered again."""
        batch = changes_by_post(records)
        failed = [
            changes.first for changes in batch if not await _logged(self._count, changes, "counted")
        ]
        for changes in batch:
            if changes.events:
                await _logged(self._follow, changes, "followed")
        return failed

    async def _count(self, changes: PostChanges) -> None:
        if changes.comments:
            await self.counter.count(changes.post_id, changes.comments)

    async def _follow(self, changes: PostChanges) -> None:
        """Start the image work, or purge the deleted post. Raises the errors of these."""
        try:
            if PostEvent.DELETED in changes.events:
                await self.purger.purge(changes.post_id)
            elif PostEvent.RECEIVED in changes.events:
                await self.start_image_work(changes.post_id)
        except Exception:
            await self.checks.reschedule(changes.post_id, 0)
            raise


async def _logged(
    work: Callable[[PostChanges], Awaitable[None]], changes: PostChanges, outcome: str
) -> bool:
    """Do the work and log it. Returns False if it failed.

    The log names the requests that made the changes: a single one as `request_id`, else up to 20.
    """
    ids = sorted(changes.request_ids - {""})
    cause: dict[str, Any] = {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids[:20]}
    about = {"service": "stream", "post": changes.post_id, **cause}
    try:
        await work(changes)
    except Exception:  # noqa: BLE001 - any failed work comes again
        _log.exception(f"changes not {outcome}", Failures=1, _aws=emf(Failures="Count"), **about)
        return False
    _log.info(
        f"changes {outcome}",
        events=sorted(changes.events),
        Comments=len(changes.comments),
        _aws=emf(Comments="Count"),
        **about,
    )
    return True


@dataclass(frozen=True)
class PublishedCopies:
    """The CDN's copies of deleted posts' images. Invalidations are expensive and few may run at
    once, so a post that was never ready gets none."""

    posts: DynamoPostStore
    invalidate: PostAction

    async def forget(self, post_id: str) -> None:
        """Invalidate the copies of a deleted post's renditions, if it was ever ready."""
        if await self.posts.was_published(post_id):
            await self.invalidate(post_id)


@dataclass(frozen=True)
class StoredImagePublisher:
    """Does the image work of one post, started by the storage that received the image.

    Safe under redelivery, and in any order: only a post that awaits its image, or is `processing`,
    changes. Files that come late for a deleted post are removed. Failures of the service are
    raised, to be delivered again. After `MAX_FAILURES` the post becomes `failed`, so that its
    creator knows, and the event goes to the dead-letter queue.
    """

    posts: PostStore
    images: ImageStore
    publisher: ImagePublisher
    failures: DynamoFailureCounter

    async def publish(self, post_id: str) -> PostStatus | None:
        """Do the work and return the post's status; None if it was deleted or is unknown. Raises
        `ImageWorkFailedError` and errors of the stores."""
        if await self.posts.find(post_id) is None:
            await remove_if_deleted(self.posts, self.images, post_id)
            return None
        try:
            await self.posts.update(post_id, uploaded_post)  # a signed PUT tells the storage only
            return await self.publisher.publish(post_id)
        except PostNotFoundError:
            await remove_if_deleted(self.posts, self.images, post_id)
            return None
        except (ImageWorkFailedError, ImagePosterError) as exc:
            if await self.failures.count(post_id, error_text(exc)) >= MAX_FAILURES:
                await self.posts.update(post_id, lambda post: failed_post(post, PROCESSING_FAILED))
            raise


async def replay_image_work(
    post_id: str, posts: PostStore, failures: DynamoFailureCounter, start: PostAction
) -> bool:
    """Make image work that was given up due again, as if it were new; False if the post is gone.
    Safe to repeat: a post that is `ready` by now stays so."""
    try:
        await failures.clear(post_id)
        await posts.update(post_id, replayed_post)
    except PostNotFoundError:
        return False
    await start(post_id)
    return True
