"""Try image work again that was given up (AWS)."""

from dataclasses import dataclass

from image_poster.domain.errors import PostNotFoundError
from image_poster.domain.posts import replayed_post
from image_poster.ports.jobs import FailureCounter, JobStarter
from image_poster.ports.posts import PostStore


@dataclass(frozen=True)
class ReplayImageWork:
    """Safe to repeat: what is `ready` meanwhile stays so."""

    posts: PostStore
    failures: FailureCounter
    work: JobStarter

    async def __call__(self, post_id: str) -> bool:
        """Make the post's work due again, as if it were new; False if the post is gone."""
        try:
            await self.failures.clear(post_id)
            await self.posts.update(post_id, replayed_post)
        except PostNotFoundError:
            return False
        await self.work.begin(post_id)
        return True
