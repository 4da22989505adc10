"""Create a post from a picture that has just been received."""

from dataclasses import dataclass

from image_poster.domain.errors import ImagePosterError
from image_poster.domain.identity import Identity
from image_poster.domain.limits import Limits
from image_poster.domain.posts import Post, PostStatus, StoredPost, encode_post
from image_poster.domain.texts import clean
from image_poster.domain.times import rfc3339
from image_poster.ports.clock import Clock
from image_poster.ports.picture_store import PictureStore, StagedPicture
from image_poster.ports.post_store import PostStore


@dataclass(frozen=True)
class CreatePost:
    """Bytes first, then the row that points at them: a crash in between leaves an orphan file for
    the sweeper, and never a row without its picture."""

    posts: PostStore
    pictures: PictureStore
    clock: Clock
    limits: Limits

    async def __call__(
        self, post_id: str, creator: Identity, *, caption: str, alt: str, picture: StagedPicture
    ) -> StoredPost:
        """Keep the staged picture and its post, which is then `processing`."""
        post = Post(
            id=post_id,
            status=PostStatus.PROCESSING,
            caption=clean("caption", caption, most=self.limits.caption_characters),
            alt=clean("alt", alt, most=self.limits.alt_characters),
            creator=creator.user,
            created_at=rfc3339(self.clock.now_ms()),
        )
        await picture.commit()
        try:
            await self.posts.add(post)
        except ImagePosterError:
            await self.pictures.remove(post_id)
            raise
        return StoredPost(post.id, 0, encode_post(post), b"")
