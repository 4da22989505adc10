"""Change a comment's text."""

from dataclasses import dataclass

from image_poster.domain.comments import Comment, edited
from image_poster.domain.identity import Identity
from image_poster.domain.limits import Limits
from image_poster.domain.texts import clean_required
from image_poster.domain.times import rfc3339
from image_poster.ports.clock import Clock
from image_poster.ports.comment_store import CommentStore


@dataclass(frozen=True)
class EditComment:
    """For its author only."""

    comments: CommentStore
    clock: Clock
    limits: Limits

    async def __call__(
        self, post_id: str, comment_id: str, editor: Identity, content: str
    ) -> Comment:
        """The comment after the change."""
        text = clean_required("content", content, most=self.limits.comment_characters)
        now = rfc3339(self.clock.now_ms())
        return await self.comments.update(
            post_id, comment_id, lambda comment: edited(comment, editor, content=text, now=now)
        )
