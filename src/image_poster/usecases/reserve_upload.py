"""Reserve a post whose picture comes later."""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from image_poster.domain.idempotency import Answer, IdempotencyRecord, fingerprint
from image_poster.domain.identity import Identity
from image_poster.domain.ids import new_id, rfc3339
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits, clean
from image_poster.domain.posts import Post, PostStatus, StoredPost, encode_post
from image_poster.domain.uploads import UploadTargets
from image_poster.ports.clock import Clock
from image_poster.ports.posts import PostStore
from image_poster.ports.uploads import PutTerms, PutUrlSigner
from image_poster.tus.decisions import Upload, check_new_length
from image_poster.usecases.answer_once import answer_once


class UploadOrder(NamedTuple):
    """What is to come: `length` in bytes, None if it is said later; `metadata` as sent by tus;
    `sha256` of the whole, or nothing."""

    length: int | None
    caption: str
    alt: str
    metadata: str = ""
    sha256: bytes = b""


@dataclass(frozen=True)
class ReserveUpload:
    """One write: the post, in `awaiting_upload`, and the terms of its upload. With an idempotency
    key there is one upload, however often it is asked for."""

    posts: PostStore
    put_urls: PutUrlSigner
    clock: Clock
    limits: Limits

    async def by_tus(
        self, creator: Identity, order: UploadOrder, key: str | None
    ) -> tuple[Answer, Upload]:
        """Where the upload is, and its terms (if it is new). Raises what `check_new_length` does,
        and `ValidationFailedError`."""
        post, upload = self._reserved(creator, order)
        answer = Answer(b"", f"/uploads/{post.id}")
        request = fingerprint(b"upload", str(order.length).encode(), order.metadata.encode())
        receipt = _receipt(creator, request, answer, key)
        given = await answer_once(self.posts.add(post, receipt, upload), answer, receipt)
        return given, upload

    async def as_post(
        self, creator: Identity, order: UploadOrder, content_type: str, key: str | None
    ) -> Answer:
        """The post, and the ways for its bytes to come in. Raises as `by_tus` does."""
        post, upload = self._reserved(creator, order)
        terms = PutTerms(content_type, order.length or 0, order.sha256)
        put = self.put_urls.sign(post.id, terms, upload.expires_ms)
        ways = UploadTargets(f"/uploads/{post.id}", put)
        shown = StoredPost(post.id, 0, encode_post(post), b"").json(0)
        body = b'%b,"upload":%b}' % (shown[:-1], msgspec.json.encode(ways))
        answer = Answer(body, f"/posts/{post.id}")
        texts = (order.caption.encode(), order.alt.encode(), content_type.encode())
        request = fingerprint(b"reserve", str(order.length).encode(), order.sha256, *texts)
        receipt = _receipt(creator, request, answer, key)
        return await answer_once(self.posts.add(post, receipt, upload), answer, receipt)

    def _reserved(self, creator: Identity, order: UploadOrder) -> tuple[Post, Upload]:
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
        return post, Upload(order.length, now + UPLOAD_KEPT_MS, order.metadata, order.sha256)


def _receipt(
    creator: Identity, request: bytes, answer: Answer, key: str | None
) -> IdempotencyRecord | None:
    if key is None:
        return None
    return IdempotencyRecord(creator.user, key, request, answer.body, answer.location)
