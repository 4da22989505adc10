"""The screening of an image between its rendering and its publication.

An image that matches a blocked one is rejected. The others may be reviewed before publication, by
admins or by the review hook (a program of the operator's).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from image_poster.domain.hashes import MAX_DISTANCE, MIN_QUALITY, HashList
from image_poster.domain.ids import rfc3339
from image_poster.domain.images import RenderedImage
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
    Failure,
    Post,
    PostStatus,
    published_post,
    rejected_post,
)
from image_poster.ports import Clock
from image_poster.ports.moderation import BlockedHashes


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
