"""Read one post, at once or when its picture is done."""

import asyncio
from dataclasses import dataclass

from image_poster.domain.errors import PostNotFoundError
from image_poster.domain.identity import Identity
from image_poster.domain.posts import Post, PostStatus, StoredPost, check_visible
from image_poster.ports.images import ImageStore
from image_poster.ports.posts import PostStore


@dataclass(frozen=True)
class GetPost:
    """Waiting asks the store again and again, which works across processes and machines alike."""

    posts: PostStore
    pictures: ImageStore
    poll_seconds: float = 0.05

    async def __call__(
        self, post_id: str, viewer: Identity | None, *, wait: float = 0
    ) -> StoredPost:
        """The post, as soon as it is not `processing` or `wait` seconds are over."""
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            stored = await self.posts.find(post_id)
            if stored is None:
                raise PostNotFoundError
            post = stored.post
            check_visible(post, viewer)
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or not await self._will_move(post):
                return stored
            await asyncio.sleep(min(self.poll_seconds, left))

    async def _will_move(self, post: Post) -> bool:
        """Also if the news that its picture has been put are still on their way to us (AWS)."""
        if post.status is PostStatus.AWAITING_UPLOAD:
            return await self.pictures.has_original(post.id)
        return post.status is PostStatus.PROCESSING
