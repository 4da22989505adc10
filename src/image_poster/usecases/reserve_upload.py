"""Reserve a post whose picture comes later, in a resumable upload."""

from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.idempotency import (
    AlreadyAnsweredError,
    Answer,
    Receipt,
    fingerprint,
    former_answer,
)
from image_poster.domain.identity import Identity
from image_poster.domain.ids import new_id
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits
from image_poster.domain.posts import Post, PostStatus
from image_poster.domain.texts import clean
from image_poster.domain.times import rfc3339
from image_poster.ports.clock import Clock
from image_poster.ports.post_store import PostStore
from image_poster.tus.decisions import Upload, check_new_length


class UploadOrder(NamedTuple):
    """What is to come: `length` in bytes, None if it is said later; `metadata` as sent."""

    length: int | None
    caption: str
    alt: str
    metadata: str


@dataclass(frozen=True)
class ReserveUpload:
    """One write: the post, in `awaiting_upload`, and the terms of its upload."""

    posts: PostStore
    clock: Clock
    limits: Limits

    async def __call__(self, creator: Identity, order: UploadOrder, key: str | None) -> Answer:
        """Where the upload is; with an idempotency key, one upload however often it is asked."""
        check_new_length(order.length, self.limits.image_bytes)
        now = self.clock.now_ms()
        post = Post(
            id=new_id(),
            status=PostStatus.AWAITING_UPLOAD,
            caption=clean("caption", order.caption, most=self.limits.caption_characters),
            alt=clean("alt", order.alt, most=self.limits.alt_characters),
            creator=creator.user,
            created_at=rfc3339(now),
        )
        answer = Answer(b"", f"/uploads/{post.id}")
        receipt = _receipt(creator, order, answer, key) if key is not None else None
        upload = Upload(order.length, now + UPLOAD_KEPT_MS, order.metadata)
        try:
            await self.posts.add(post, receipt, upload)
        except AlreadyAnsweredError as exc:
            return former_answer(exc.receipt, receipt)
        return answer


def _receipt(creator: Identity, order: UploadOrder, answer: Answer, key: str) -> Receipt:
    request = fingerprint(b"upload", str(order.length).encode(), order.metadata.encode())
    return Receipt(creator.user, key, request, answer.body, answer.location)
