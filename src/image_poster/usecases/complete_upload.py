"""The one completion that every upload ends in."""

from dataclasses import dataclass

from image_poster.domain.posts import uploaded_post
from image_poster.ports.posts import PostStore
from image_poster.ports.uploads import UploadStore
from image_poster.tus.decisions import Upload


@dataclass(frozen=True)
class CompleteUpload:
    """Idempotent: running it twice, or both at once, makes one post, and a crash between its two
    steps is mended by running it again."""

    posts: PostStore
    uploads: UploadStore

    async def __call__(self, post_id: str, upload: Upload) -> None:
        """Make the bytes the post's original, and the post `processing`. Raises
        `ChecksumMismatchError`, with nothing kept, if they are not what was announced."""
        await self.uploads.promote(post_id, upload.sha256)
        await self.posts.update(post_id, uploaded_post)
