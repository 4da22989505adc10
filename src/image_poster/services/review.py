"""The screening of an image between its rendering and its publication.

An image that matches a blocked one is rejected. The others may be reviewed before publication, by
admins or by the review hook, a program of the operator's. The hook is called with its own timeouts
and threads, so a slow hook delays only reviews.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

import msgspec

from image_poster.domain.block_lists import MAX_DISTANCE, MIN_QUALITY, HashList
from image_poster.domain.errors import PostNotFoundError, ValidationFailedError
from image_poster.domain.ids import rfc3339
from image_poster.domain.images import RenderedImage
from image_poster.domain.limits import MODERATION_TEXT_CHARACTERS, clean
from image_poster.domain.moderation import (
    THE_SERVICE,
    Action,
    Decision,
    EntryKind,
    Match,
    ModerationRecords,
    NewEntry,
)
from image_poster.domain.posts import (
    IMAGE_BLOCKED,
    IMAGE_REJECTED,
    POST_FORMAT,
    Failure,
    Post,
    PostStatus,
    StoredPost,
    encode_post,
    published_post,
    rejected_post,
)
from image_poster.ports import Clock
from image_poster.ports.images import FileRecord, ImageStore
from image_poster.ports.moderation import BlockedHashes
from image_poster.ports.posts import PendingReview, PostStore, ReviewQueue
from image_poster.services.posts import expose_ready


class ScreeningResult(NamedTuple):
    """The new status of the post, the failure of a rejected image, and the records for the log and
    the queue. The status `processing` means that the review hook decides."""

    status: PostStatus = PostStatus.READY
    failure: Failure | None = None
    decision: Decision | None = None
    entry: NewEntry | None = None

    def apply(self, post: Post, rendered: RenderedImage) -> Post:
        """The post after its image work. Anything but a `processing` post stays as it is."""
        if self.status is PostStatus.PROCESSING:
            return post
        if self.failure is not None:
            return rejected_post(post, rendered, self.failure)
        return published_post(post, rendered, self.status)

    def records(self, post_id: str) -> ModerationRecords:
        """The records, about this post."""
        decision = self.decision
        if decision is not None:
            decision = msgspec.structs.replace(decision, post_id=post_id)
        return ModerationRecords(decision, self.entry)


def usable_hash(rendered: RenderedImage) -> str:
    """The image's perceptual hash, empty if its quality is too low to be compared."""
    return rendered.hash if rendered.hash_quality >= MIN_QUALITY else ""


class ImageScreening(Protocol):
    """Decides whether a rendered image is published, reviewed or rejected."""

    async def screen(self, rendered: RenderedImage) -> ScreeningResult:
        """The result for one image."""
        ...


class _NoScreening:
    """Publishes every image."""

    async def screen(self, rendered: RenderedImage) -> ScreeningResult:
        del rendered
        return ScreeningResult()


NO_SCREENING: ImageScreening = _NoScreening()


class ReviewMode(StrEnum):
    """Which images are reviewed before publication: none, all by admins, or all by the hook."""

    OFF = "off"
    ALL = "all"
    HOOK = "hook"


class ImageMatcher(Protocol):
    """Finds the blocked image that a perceptual hash matches."""

    async def match(self, rendered: RenderedImage) -> Match | None:
        """The source of the nearest blocked hash within the limit of distance; None if there is
        none."""
        ...


@dataclass(frozen=True)
class BlockedImages:
    """An `ImageMatcher` over the operator's list and the images that decisions blocked. `hashes`
    returns the list that is in force."""

    hashes: Callable[[], HashList]
    blocked: BlockedHashes

    async def match(self, rendered: RenderedImage) -> Match | None:
        """The nearest source. An image without a hash, or with one of low quality, matches none."""
        if not usable_hash(rendered):
            return None
        listed = self.hashes().match(rendered.hash, rendered.hash_quality)
        decided = await self.blocked.nearest(rendered.hash)
        distance = MAX_DISTANCE if listed is None else listed.distance - 1
        if decided is not None and decided[1] <= distance:
            return Match(decision=decided[0])
        return None if listed is None else Match(line=listed.line)


@dataclass(frozen=True)
class Screening:
    """Rejects blocked images, and has the others reviewed by `review`."""

    matcher: ImageMatcher
    clock: Clock
    review: ReviewMode = ReviewMode.OFF

    async def screen(self, rendered: RenderedImage) -> ScreeningResult:
        """`failed` if the image matches a blocked one; else `ready`, `in_review`, or, until the
        hook has answered, `processing`."""
        match = await self.matcher.match(rendered)
        now = rfc3339(self.clock.now_ms())
        if match is not None:
            entry = NewEntry(self.clock.new_id(), EntryKind.MATCH, now, match)
            decision = automatic_rejection(self.clock.new_id(), IMAGE_BLOCKED, now)
            return ScreeningResult(PostStatus.FAILED, IMAGE_BLOCKED, decision, entry)
        if self.review is ReviewMode.ALL:
            return review_by_admins(self.clock)
        if self.review is ReviewMode.HOOK:
            return ScreeningResult(PostStatus.PROCESSING)
        return ScreeningResult()


def review_by_admins(clock: Clock) -> ScreeningResult:
    """The result that leaves an image to admins."""
    entry = NewEntry(clock.new_id(), EntryKind.REVIEW, rfc3339(clock.now_ms()))
    return ScreeningResult(PostStatus.IN_REVIEW, entry=entry)


def automatic_rejection(decision_id: str, failure: Failure, now: str, text: str = "") -> Decision:
    """The decision by which the service rejects an image, at the time `now` (RFC 3339). `text` is
    the hook's reason. The post and its owner are added when the decision is stored."""
    return Decision(
        id=decision_id,
        by=THE_SERVICE,
        action=Action.REJECT,
        post_id=None,
        comment_id=None,
        user=None,
        reason=failure.code,
        text=text,
        until=None,
        created_at=now,
    )


EVENT_TYPE = "post.review"
IMAGE_URL_MS = 10 * 60 * 1000
_LEASE_MS = 30_000
# The delays before the second and the third try; after that, admins review the image.
RETRY_DELAYS_MS = (5_000, 30_000)


class HookFailedError(Exception):
    """The hook did not answer in time, or its response is not a valid `HookAnswer`."""


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
class HookReviewer:
    """Asks the hook about a post, and stores what it decides. `image_url` makes the URL by which
    the hook reads the post's image: valid for `IMAGE_URL_MS`, and for this rendition only."""

    posts: PostStore
    hook: ReviewHook
    clock: Clock
    image_url: Callable[[str], str]

    async def review(self, post_id: str, review: PendingReview) -> PostStatus | None:
        """Ask once, and return the new status of the post. None if it no longer waits for the hook.
        Raises `HookFailedError` for a failed try; after the last one, admins review the image."""
        stored = await self.posts.find(post_id)
        if stored is None or stored.post.status is not PostStatus.PROCESSING:
            return None
        try:
            result = self._result(await self.hook.ask(f"review_{post_id}", self._event(stored)))
        except (HookFailedError, ValidationFailedError) as exc:
            if review.tries < len(RETRY_DELAYS_MS):
                raise HookFailedError(str(exc)) from exc
            result = review_by_admins(self.clock)
        try:
            stored = await self._stored_result(post_id, review, result)
        except PostNotFoundError:
            return None
        return stored.post.status

    def _event(self, stored: StoredPost) -> bytes:
        """The body of the webhook (Standard Webhooks 1.0, "Payload structure")."""
        data = msgspec.Raw(reviewed_post(stored, self.image_url(stored.id)))
        now = rfc3339(self.clock.now_ms())
        return msgspec.json.encode({"type": EVENT_TYPE, "timestamp": now, "data": data})

    async def _stored_result(
        self, post_id: str, review: PendingReview, result: ScreeningResult
    ) -> StoredPost:
        return await self.posts.update(
            post_id,
            lambda post: result.apply(post, review.rendered),
            image_hash=usable_hash(review.rendered),
            records=result.records(post_id),
        )

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


def reviewed_post(stored: StoredPost, image_url: str) -> bytes:
    """The JSON of a post for the hook: as the API shows it, with `image_url`. Nobody has commented
    on a post that is not public yet."""
    document = encode_post(stored.post).removeprefix(b'{"v":%d,' % POST_FORMAT)
    counts = b'"total_comments":%d,"latest_comments":[]' % stored.total_comments
    return b'{%b,%b,"image_url":%b}' % (document[:-1], counts, msgspec.json.encode(image_url))


@dataclass(frozen=True)
class ReviewHookRunner:
    """Asks the hook about one post of the queue after the other (one machine)."""

    queue: ReviewQueue
    reviewer: HookReviewer
    images: ImageStore

    async def run_next(self) -> str | None:
        """Ask about the next due post; return its new status, `failed` for a failed try, or `gone`.
        None if no post is due."""
        leased = await self.queue.lease(_LEASE_MS)
        if leased is None:
            return None
        post_id, review = leased
        try:
            status = await self.reviewer.review(post_id, review)
        except HookFailedError:
            await self.queue.retry(post_id, delay_ms=RETRY_DELAYS_MS[review.tries])
            return "failed"
        if status is PostStatus.READY:
            await expose_ready(self.reviewer.posts, self.images, post_id)
        return status or "gone"


@dataclass(frozen=True)
class ImmediateReviews:
    """`HookReviews` that asks at once, and waits between its tries (AWS). A crash repeats the image
    work, and with it all tries. `sleep` takes seconds."""

    reviewer: HookReviewer
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def begin(self, post_id: str, review: PendingReview, files: Sequence[FileRecord]) -> None:
        """Ask until the hook has decided, or has failed so often that admins review the image."""
        del files  # S3 verifies its objects
        while True:
            try:
                await self.reviewer.review(post_id, review)
            except HookFailedError:
                await self.sleep(RETRY_DELAYS_MS[review.tries] / 1000)
                review = msgspec.structs.replace(review, tries=review.tries + 1)
            else:
                return
