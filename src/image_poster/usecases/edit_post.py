"""Change a post's caption or alt text."""

from dataclasses import dataclass

from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.limits import Limits, clean
from image_poster.domain.posts import StoredPost, edited_post
from image_poster.ports.clock import Clock
from image_poster.ports.posts import PostStore


@dataclass(frozen=True)
class EditPost:
    """What is None stays as it is."""

    posts: PostStore
    clock: Clock
    limits: Limits

    async def __call__(
        self, post_id: str, editor: Identity, *, caption: str | None, alt: str | None
    ) -> StoredPost:
        """The post after the change."""
        if caption is not None:
            caption = clean("caption", caption, most=self.limits.caption_characters)
        if alt is not None:
            alt = clean("alt", alt, most=self.limits.alt_characters)
        now = rfc3339(self.clock.now_ms())
        return await self.posts.update(
            post_id, lambda post: edited_post(post, editor, caption=caption, alt=alt, now=now)
        )
