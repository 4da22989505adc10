"""The review hook: a program of the operator's decides whether an image is published. It is called
with its own time-outs and threads, so a slow hook delays no other work than reviews."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from image_poster.domain.errors import PostNotFoundError, ValidationFailedError
from image_poster.domain.ids import rfc3339
from image_poster.domain.images import RENDITION_SMALL
from image_poster.domain.limits import MODERATION_TEXT_CHARACTERS, clean
from image_poster.domain.posts import IMAGE_REJECTED, PostStatus, StoredPost
from image_poster.ports import Clock
from image_poster.ports.images import ImageStore
from image_poster.ports.posts import PendingReview, PostStore, ReviewQueue
from image_poster.services.images import expose_ready
from image_poster.services.review import (
    ScreeningResult,
    automatic_rejection,
    review_by_admins,
    usable_hash,
)

EVENT_TYPE = "post.review"
IMAGE_URL_MS = 10 * 60 * 1000
_LEASE_MS = 30_000
# The delays before the second and the third try; after that, admins review the image.
_DELAYS_MS = (5_000, 30_000)


class HookFailedError(Exception):
    """The hook did not answer in time, or not as it should."""


class HookAnswer(msgspec.Struct, frozen=True):
    """The hook's answer. `reason` is shown to the creator of a rejected post."""

    decision: Literal["publish", "review", "reject"]
    reason: str | None = None


class ReviewHook(Protocol):
    """Calls the operator's program."""

    async def ask(self, webhook_id: str, body: bytes) -> HookAnswer:
        """The hook's answer to an event with this id. Raises `HookFailedError`."""
        ...


@dataclass(frozen=True)
class ReviewHookRunner:
    """Asks the hook about one post after the other. `render` encodes a post for the hook, with the
    URL that `sign_url` makes: it is valid for `IMAGE_URL_MS`, and for this rendition only."""

    queue: ReviewQueue
    posts: PostStore
    images: ImageStore
    hook: ReviewHook
    clock: Clock
    render: Callable[[StoredPost, str], bytes]
    sign_url: Callable[[str, str, int], str]

    async def run_next(self) -> str | None:
        """Ask about the next due post; return its new status, `failed` for a failed try, or `gone`.
        None if no post is due."""
        leased = await self.queue.lease(_LEASE_MS)
        if leased is None:
            return None
        post_id, review = leased
        stored = await self.posts.find(post_id)
        if stored is None or stored.post.status is not PostStatus.PROCESSING:
            return "gone"
        try:
            result = self._result(await self.hook.ask(f"review_{post_id}", self._event(stored)))
        except (HookFailedError, ValidationFailedError):
            if review.tries < len(_DELAYS_MS):
                await self.queue.retry(post_id, delay_ms=_DELAYS_MS[review.tries])
                return "failed"
            result = review_by_admins(self.clock)
        try:
            await self._apply(post_id, review, result)
        except PostNotFoundError:
            return "gone"
        return result.status

    def _event(self, stored: StoredPost) -> bytes:
        """The body of the webhook (Standard Webhooks 1.0, "Payload structure")."""
        now_ms = self.clock.now_ms()
        url = self.sign_url(stored.id, RENDITION_SMALL, now_ms + IMAGE_URL_MS)
        data = msgspec.Raw(self.render(stored, url))
        event = {"type": EVENT_TYPE, "timestamp": rfc3339(now_ms), "data": data}
        return msgspec.json.encode(event)

    async def _apply(self, post_id: str, review: PendingReview, result: ScreeningResult) -> None:
        stored = await self.posts.update(
            post_id,
            lambda post: result.apply(post, review.rendered),
            image_hash=usable_hash(review.rendered),
            records=result.records(post_id),
        )
        if stored.post.status is PostStatus.READY:
            await expose_ready(self.posts, self.images, post_id)

    def _result(self, answer: HookAnswer) -> ScreeningResult:
        """Raises `ValidationFailedError` for a reason that cannot be stored."""
        if answer.decision == "publish":
            return ScreeningResult()
        if answer.decision == "review":
            return review_by_admins(self.clock)
        now, decision_id = rfc3339(self.clock.now_ms()), self.clock.new_id()
        text = clean("reason", answer.reason or "", longest=MODERATION_TEXT_CHARACTERS)
        decision = automatic_rejection(decision_id, IMAGE_REJECTED, now, text)
        return ScreeningResult(PostStatus.FAILED, IMAGE_REJECTED, decision)
