"""Work on images that events start: the image work of a stored image, moves of renditions after a
decision, and copies in the CDN. Every event may be delivered twice, and in any order."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from image_poster.adapters.dynamodb.checks import DynamoFailureCounter
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.domain.accounts import Standing, check_may_write
from image_poster.domain.errors import (
    AccountDeletedError,
    BannedError,
    ImagePosterError,
    PostNotFoundError,
)
from image_poster.domain.images import ImageWorkFailedError
from image_poster.domain.posts import (
    PROCESSING_FAILED,
    Post,
    PostStatus,
    failed_post,
    replayed_post,
    uploaded_post,
)
from image_poster.ports import Clock
from image_poster.ports.images import ImageStore
from image_poster.ports.posts import PostStore
from image_poster.services.images import MAX_FAILURES, ImagePublisher, error_text, remove_if_deleted
from image_poster.services.posts import expose_ready

PostAction = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class PublishedCopies:
    """The CDN's copies of images of deleted and hidden posts. Invalidations are expensive and few
    may run at once, so a post that was never ready gets none."""

    posts: DynamoPostStore
    invalidate: Callable[[str, str], Awaitable[None]]

    async def forget(self, post_id: str) -> None:
        """Invalidate the copies of a deleted or hidden post's renditions, if it was ever ready.
        Repeating it makes no other invalidation, until the post is hidden anew."""
        since_ms = await self.posts.unpublished_since(post_id)
        if since_ms is not None:
            await self.invalidate(post_id, f"{post_id}-{since_ms}")


@dataclass(frozen=True)
class RenditionPlaces:
    """Moves renditions to the place that the status of their post requires, after a decision. The
    status is read again after each move, since another decision may come in the meantime."""

    posts: PostStore
    images: ImageStore
    forget_copies: PostAction

    async def withdraw(self, post_id: str) -> None:
        """Take the renditions of a post that is not ready out of the public place, and out of the
        CDN."""
        if await self.posts.is_ready(post_id):
            return
        await self.images.withhold(post_id)
        if await self.posts.is_ready(post_id):
            await self.images.expose(post_id)
        await self.forget_copies(post_id)

    async def expose(self, post_id: str) -> None:
        """Put the renditions of a ready post into the public place."""
        if not await self.posts.is_ready(post_id):
            return
        await self.images.expose(post_id)
        if not await self.posts.is_ready(post_id):
            await self.images.withhold(post_id)


@dataclass(frozen=True)
class StoredImagePublisher:
    """Does the image work of one post, started by the storage that received the image.

    Safe under redelivery, and in any order: only a post that awaits its image, or is `processing`,
    changes. An image of a banned user, or of an account that is being deleted, is removed. Files
    that come late for a deleted post are removed. Failures of the service are raised, to be
    delivered again. After `MAX_FAILURES` the post becomes `failed`, so that its creator knows, and
    the event goes to the dead-letter queue.
    """

    posts: PostStore
    images: ImageStore
    publisher: ImagePublisher
    failures: DynamoFailureCounter
    standing: Callable[[str], Awaitable[Standing]]
    clock: Clock

    async def publish(self, post_id: str) -> PostStatus | None:
        """Do the work and return the post's status; None if it was deleted or is unknown. Raises
        `ImageWorkFailedError` and errors of the stores."""
        stored = await self.posts.find(post_id)
        if stored is None:
            await remove_if_deleted(self.posts, self.images, post_id)
            return None
        if stored.post.status is PostStatus.READY:
            # Perhaps a crash came between the decision of the review hook and this.
            await expose_ready(self.posts, self.images, post_id)
            return PostStatus.READY
        try:
            if not await self._may_accept(stored.post):
                await self.images.remove(post_id)
                return stored.post.status
            await self.posts.update(post_id, uploaded_post)  # a signed PUT tells the storage only
            return await self.publisher.publish(post_id)
        except PostNotFoundError:
            await remove_if_deleted(self.posts, self.images, post_id)
            return None
        except (ImageWorkFailedError, ImagePosterError) as exc:
            if await self.failures.count(post_id, error_text(exc)) >= MAX_FAILURES:
                await self.posts.update(post_id, lambda post: failed_post(post, PROCESSING_FAILED))
            raise

    async def _may_accept(self, post: Post) -> bool:
        """False if the post's creator may not write now. S3 accepts an image at a URL that was
        signed before the ban, or before the deletion of the account."""
        if post.status is not PostStatus.AWAITING_UPLOAD:
            return True
        try:
            check_may_write(await self.standing(post.creator), self.clock.now_ms())
        except (BannedError, AccountDeletedError):
            return False
        return True


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
