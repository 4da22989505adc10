"""Change a comment's text."""

from dataclasses import dataclass

from image_poster.domain.comments import Comment, edited_comment
from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.limits import Limits, clean_required
from image_poster.ports.clock import Clock
from image_poster.ports.comments import CommentStore


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
            post_id,
            comment_id,
            lambda comment: edited_comment(comment, editor, content=text, now=now),
        )
