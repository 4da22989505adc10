"""Delete a post, and afterwards everything that belonged to it."""

from dataclasses import dataclass

from image_poster.domain.identity import Identity
from image_poster.ports.images import ImageStore
from image_poster.ports.posts import PostStore, TombstoneStore

_COMMENTS_AT_A_TIME = 500


async def remove_if_deleted(posts: PostStore, pictures: ImageStore, post_id: str) -> None:
    """Remove what came late for a post that was deleted. Files of a post that is merely not known
    stay: the database may be the wrong one, and what is nobody's is for `Sweep`."""
    if await posts.was_deleted(post_id):
        await pictures.remove(post_id)


@dataclass(frozen=True)
class RemoveRemains:
    """Remove comments and pictures of deleted posts. Resumable: what is left is on record."""

    remains: TombstoneStore
    pictures: ImageStore

    async def __call__(self, post_id: str) -> None:
        """Remove everything of one deleted post, in small steps so that nobody waits for it."""
        await self.pictures.remove(post_id)
        while await self.remains.purge_comments(post_id, _COMMENTS_AT_A_TIME):
            pass
        await self.remains.done(post_id)


@dataclass(frozen=True)
class DeletePost:
    """The one durable fact is the post's own removal; its pictures go before the answer, since
    people who delete a picture expect it gone, and its comments follow."""

    posts: PostStore
    pictures: ImageStore

    async def __call__(self, post_id: str, by: Identity) -> None:
        """Delete the post for its creator or an admin."""
        await self.posts.remove(post_id, by)
        await self.pictures.remove(post_id)
