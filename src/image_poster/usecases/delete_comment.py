"""Delete a comment."""

from dataclasses import dataclass

from image_poster.domain.identity import Identity
from image_poster.ports.comments import CommentStore


@dataclass(frozen=True)
class DeleteComment:
    """One write."""

    comments: CommentStore

    async def __call__(self, post_id: str, comment_id: str, by: Identity) -> None:
        """For its author, the post's creator or an admin; repeating it is a no-op."""
        await self.comments.remove(post_id, comment_id, by)
