"""Add a comment to a post."""

from dataclasses import dataclass

from image_poster.domain.comments import Comment, encode_comment
from image_poster.domain.idempotency import Answer, IdempotencyRecord, fingerprint
from image_poster.domain.identity import Identity
from image_poster.domain.ids import new_id, rfc3339
from image_poster.domain.limits import Limits, clean_required
from image_poster.ports.clock import Clock
from image_poster.ports.comments import CommentStore
from image_poster.usecases.answer_once import answer_once


@dataclass(frozen=True)
class AddComment:
    """One write."""

    comments: CommentStore
    clock: Clock
    limits: Limits

    async def __call__(
        self, post_id: str, author: Identity, content: str, key: str | None = None
    ) -> Answer:
        """Keep the comment; with an idempotency key, once."""
        comment = Comment(
            id=new_id(),
            post_id=post_id,
            creator=author.user,
            content=clean_required("content", content, most=self.limits.comment_characters),
            created_at=rfc3339(self.clock.now_ms()),
        )
        answer = Answer(encode_comment(comment), f"/posts/{post_id}/comments/{comment.id}")
        receipt = _receipt(comment, answer, key) if key is not None else None
        return await answer_once(self.comments.add(comment, receipt), answer, receipt)


def _receipt(comment: Comment, answer: Answer, key: str) -> IdempotencyRecord:
    request = fingerprint(b"comment", comment.post_id.encode(), comment.content.encode())
    return IdempotencyRecord(comment.creator, key, request, answer.body, answer.location)
