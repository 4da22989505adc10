"""The image work of one post, begun by the storage that was given the picture (AWS)."""

from dataclasses import dataclass

from image_poster.domain.errors import ImagePosterError, PostNotFoundError
from image_poster.domain.images import ImageWorkFailedError
from image_poster.domain.posts import PROCESSING_FAILED, PostStatus, failed_post, uploaded_post
from image_poster.ports.images import ImageStore
from image_poster.ports.jobs import FailureCounter
from image_poster.ports.posts import PostStore
from image_poster.usecases.delete_post import remove_if_deleted
from image_poster.usecases.publish_image import PublishImage


@dataclass(frozen=True)
class PublishStoredImage:
    """Safe under redelivery, and in any order: only a post that awaits its picture, or is
    `processing`, moves, and what comes late for a deleted one is removed.

    What fails through our fault is raised, to be delivered again; the last time, the post is
    `failed` as well, so that its creator knows, and the event goes to the dead-letter queue.
    """

    posts: PostStore
    pictures: ImageStore
    publish_image: PublishImage
    failures: FailureCounter
    max_failures: int = 3

    async def __call__(self, post_id: str) -> PostStatus | None:
        """What the post is now; None if it was deleted or is not known. Raises
        `ImageWorkFailedError` and errors of the stores."""
        if await self.posts.find(post_id) is None:
            await remove_if_deleted(self.posts, self.pictures, post_id)
            return None
        try:
            await self.posts.update(
                post_id, uploaded_post
            )  # a signed PUT tells nobody but the storage
            return await self.publish_image(post_id)
        except PostNotFoundError:
            await remove_if_deleted(self.posts, self.pictures, post_id)
            return None
        except (ImageWorkFailedError, ImagePosterError) as exc:
            if (
                await self.failures.note(post_id, f"{type(exc).__name__}: {exc}")
                >= self.max_failures
            ):
                await self.posts.update(post_id, lambda post: failed_post(post, PROCESSING_FAILED))
            raise
