"""The image work of one post: make its renditions and show it, or say why not."""

from dataclasses import dataclass

from image_poster.domain.errors import ImageNotFoundError, PostNotFoundError
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError
from image_poster.domain.posts import Failure, PostStatus, StoredPost, failed_post, published_post
from image_poster.ports.images import ImageRenderer, ImageStore
from image_poster.ports.posts import PostStore
from image_poster.usecases.delete_post import remove_if_deleted


@dataclass(frozen=True)
class PublishImage:
    """Safe to repeat, at any point and by anyone: renditions are replaced whole, and only a post
    that is still `processing` moves."""

    posts: PostStore
    pictures: ImageStore
    renderer: ImageRenderer

    async def __call__(self, post_id: str) -> PostStatus | None:
        """What the post is now; None if it was deleted. Raises `ImageWorkFailedError` to be
        retried."""
        stored = await self.posts.find(post_id)
        if stored is None:
            return None
        if stored.post.status is not PostStatus.PROCESSING:
            return stored.post.status
        try:
            return (await self._publish(post_id)).post.status
        except ImageRejectedError as exc:
            failure = Failure(exc.code, exc.detail)
            return await self._fail(post_id, failure)
        except PostNotFoundError:
            await remove_if_deleted(self.posts, self.pictures, post_id)  # while we worked
            return None

    async def _publish(self, post_id: str) -> StoredPost:
        try:
            async with self.pictures.workspace(post_id) as work:
                rendered = await self.renderer.render(work)
                await self.pictures.publish(post_id, work)
        except (ImageNotFoundError, ImageWorkFailedError) as exc:
            if await self.posts.find(post_id) is None:
                raise PostNotFoundError from exc  # deleted under our hands, its files with it
            if isinstance(exc, ImageNotFoundError):
                raise ImageWorkFailedError("the original is missing") from exc
            raise
        return await self.posts.update(post_id, lambda post: published_post(post, rendered))

    async def _fail(self, post_id: str, failure: Failure) -> PostStatus | None:
        try:
            stored = await self.posts.update(post_id, lambda post: failed_post(post, failure))
        except PostNotFoundError:
            return None
        return stored.post.status
