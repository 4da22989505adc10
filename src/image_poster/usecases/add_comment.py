"""Add a comment to a post."""

from dataclasses import dataclass

from image_poster.domain.comments import Comment
from image_poster.domain.identity import Identity
from image_poster.domain.ids import new_id
from image_poster.domain.limits import Limits
from image_poster.domain.texts import clean_required
from image_poster.domain.times import rfc3339
from image_poster.ports.clock import Clock
from image_poster.ports.comment_store import CommentStore


@dataclass(frozen=True)
class AddComment:
    """One write."""

    comments: CommentStore
    clock: Clock
    limits: Limits

    async def __call__(self, post_id: str, author: Identity, content: str) -> Comment:
        """The comment as kept."""
        comment = Comment(
            id=new_id(),
            post_id=post_id,
            creator=author.user,
            content=clean_required("content", content, most=self.limits.comment_characters),
            created_at=rfc3339(self.clock.now_ms()),
        )
        await self.comments.add(comment)
        return comment
