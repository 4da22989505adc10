"""Open a picture to be served."""

from dataclasses import dataclass

from image_poster.domain.errors import ImageNotFoundError, PostNotFoundError
from image_poster.domain.identity import Identity
from image_poster.domain.posts import PostStatus
from image_poster.ports.images import ImageStore, RemoteFile, StoredFile
from image_poster.ports.posts import PostStore
from image_poster.usecases.get_post import GetPost


@dataclass(frozen=True)
class ReadPicture:
    """The post decides, not the file: a picture is gone the moment its post is."""

    get_post: GetPost
    posts: PostStore
    pictures: ImageStore

    async def rendition(self, post_id: str, rendition: str) -> StoredFile | RemoteFile:
        """A rendition of a ready post. Raises `ImageNotFoundError`."""
        stored = await self.posts.find(post_id)
        if stored is None or stored.post.status is not PostStatus.READY:
            raise ImageNotFoundError
        return await self.pictures.open_rendition(post_id, rendition)

    async def original(self, post_id: str, viewer: Identity) -> StoredFile | RemoteFile:
        """The untouched upload, for the post's creator only (admins too are somebody else here:
        it still holds where the picture was taken)."""
        stored = await self.get_post(post_id, viewer)
        Identity(viewer.user).require(stored.post.creator)
        try:
            return await self.pictures.open_original(post_id)
        except ImageNotFoundError as exc:
            # Deleted between the two reads.
            raise PostNotFoundError from exc
