"""Create a post from a picture that has just been received."""

from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.errors import BusyError, ImagePosterError
from image_poster.domain.idempotency import Answer, IdempotencyRecord, fingerprint
from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.limits import Limits, clean
from image_poster.domain.posts import Post, PostStatus, StoredPost, encode_post
from image_poster.ports.clock import Clock
from image_poster.ports.images import ImageStore, StagedImage
from image_poster.ports.posts import PostStore
from image_poster.usecases.answer_once import answer_once


class PostDraft(NamedTuple):
    """What came with a picture; `picture_sha256` tells one picture from another, where
    that matters (with an idempotency key)."""

    caption: str
    alt: str
    picture_sha256: bytes


@dataclass(frozen=True)
class CreatePost:
    """Bytes first, then the row that points at them: a crash in between leaves an orphan file for
    the sweeper, and never a row without its picture."""

    posts: PostStore
    pictures: ImageStore
    clock: Clock
    limits: Limits

    async def __call__(
        self,
        post_id: str,
        creator: Identity,
        draft: PostDraft,
        picture: StagedImage,
        key: str | None = None,
    ) -> Answer:
        """Keep the staged picture and its post, which is then `processing`; with an idempotency
        key, once."""
        post = self._post(post_id, creator, draft)
        stored = StoredPost(post.id, 0, encode_post(post), b"")
        answer = Answer(stored.json(0), f"/posts/{post_id}")
        receipt = _receipt(creator, draft, answer, key) if key is not None else None
        await picture.commit()
        try:
            given = await answer_once(self.posts.add(post, receipt), answer, receipt)
        except BusyError:
            raise  # the row may have been written and only its answer lost: keep its picture
        except ImagePosterError:
            await self.pictures.remove(post_id)
            raise
        if given.replayed:
            await self.pictures.remove(post_id)
        return given

    def _post(self, post_id: str, creator: Identity, draft: PostDraft) -> Post:
        return Post(
            id=post_id,
            status=PostStatus.PROCESSING,
            caption=clean("caption", draft.caption, most=self.limits.caption_characters),
            alt=clean("alt", draft.alt, most=self.limits.alt_characters),
            creator=creator.user,
            created_at=rfc3339(self.clock.now_ms()),
        )


def _receipt(creator: Identity, draft: PostDraft, answer: Answer, key: str) -> IdempotencyRecord:
    request = fingerprint(b"post", draft.caption.encode(), draft.alt.encode(), draft.picture_sha256)
    return IdempotencyRecord(creator.user, key, request, answer.body, answer.location)
