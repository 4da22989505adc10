"""Work that events start: the changes in a batch of the table's stream, and the image work of a
stored image. Every event may be delivered twice, and in any order.

Per-user quotas are enforced from usage that the stream adds up. A request reads the user's usage at
most every 10 s. So a quota takes effect some seconds late, and no request waits for an item that
many write to.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

import structlog

from image_poster.adapters.dynamodb.checks import (
    DynamoFailureCounter,
    DynamoScheduledChecks,
)
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.stream import (
    PostChanges,
    PostEvent,
    StreamRecord,
    UploadChange,
    UserChanges,
    changes_by_post,
    changes_by_user,
)
from image_poster.adapters.dynamodb.uploads import DynamoUsageStore
from image_poster.domain import usage
from image_poster.domain.accounts import Standing, check_may_write
from image_poster.domain.errors import (
    AccountDeletedError,
    BannedError,
    BusyError,
    ImagePosterError,
    PostNotFoundError,
    UploadGoneError,
)
from image_poster.domain.images import ImageWorkFailedError
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits, day_of
from image_poster.domain.posts import (
    PROCESSING_FAILED,
    Post,
    PostStatus,
    failed_post,
    replayed_post,
    uploaded_post,
)
from image_poster.domain.uploads import Upload
from image_poster.domain.usage import Booking, Usage
from image_poster.editions.logs import emf
from image_poster.ports import Clock
from image_poster.ports.images import ImageStore
from image_poster.ports.posts import PostStore
from image_poster.ports.uploads import UploadRecordStore
from image_poster.services.images import (
    MAX_FAILURES,
    ImagePublisher,
    error_text,
    remove_if_deleted,
)
from image_poster.services.posts import PostPurger

PostAction = Callable[[str], Awaitable[None]]
_CACHE_MS = 10_000
_MAX_CACHED = 10_000
_log = structlog.get_logger()


@dataclass(frozen=True)
class ChangeApplier:
    """Applies a batch of the stream's records, post by post: first all counts, then the steps that
    follow.

    Counting uses the table only, so no fault of the image storage or the CDN delays it. Only a
    failed count has its records delivered again. A failed step that follows is due at once, for
    `Reconciler`. `start_image_work` starts it for a post whose image is complete; `forget_copies`
    invalidates the CDN's copies of a hidden post's images.
    """

    counter: DynamoCommentCounter
    start_image_work: PostAction
    purger: PostPurger
    checks: DynamoScheduledChecks
    forget_copies: PostAction

    async def apply(self, records: list[StreamRecord]) -> list[str]:
        """Apply a batch; return the sequence numbers from which it must be delivered again."""
        batch = changes_by_post(records)
        failed = [
            changes.first for changes in batch if not await _logged(self._count, changes, "counted")
        ]
        for changes in batch:
            if changes.events:
                await _logged(self._follow, changes, "followed")
        return failed

    async def _count(self, changes: PostChanges) -> None:
        if changes.comments:
            await self.counter.count(changes.post_id, changes.comments)

    async def _follow(self, changes: PostChanges) -> None:
        """Start the image work, purge the deleted post, or invalidate the copies of a hidden one.
        Raises the errors of these."""
        try:
            if PostEvent.DELETED in changes.events:
                await self.purger.purge(changes.post_id)
            elif PostEvent.HIDDEN in changes.events:
                await self.forget_copies(changes.post_id)
            elif PostEvent.RECEIVED in changes.events:
                await self.start_image_work(changes.post_id)
        except Exception:
            await self.checks.reschedule(changes.post_id, 0)
            raise


async def _logged(
    work: Callable[[PostChanges], Awaitable[None]], changes: PostChanges, outcome: str
) -> bool:
    """Do the work and log it. Returns False if it failed.

    The log names the requests that made the changes: a single one as `request_id`, else up to 20.
    """
    ids = sorted(changes.request_ids - {""})
    cause: dict[str, Any] = {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids[:20]}
    about = {"service": "stream", "post": changes.post_id, **cause}
    try:
        await work(changes)
    except Exception:  # noqa: BLE001 - any failed work comes again
        _log.exception(f"changes not {outcome}", Failures=1, _aws=emf(Failures="Count"), **about)
        return False
    _log.info(
        f"changes {outcome}",
        events=sorted(changes.events),
        Comments=len(changes.comments),
        _aws=emf(Comments="Count"),
        **about,
    )
    return True


@dataclass(frozen=True)
class PublishedCopies:
    """The CDN's copies of images of deleted and hidden posts. Invalidations are expensive and few
    may run at once, so a post that was never ready gets none."""

    posts: DynamoPostStore
    invalidate: Callable[[str, str], Awaitable[None]]

    async def forget(self, post_id: str) -> None:
        """Invalidate the copies of a deleted or hidden post's renditions, if it was ever ready.
        Repeating it makes no other invalidation, until the post is hidden anew."""
        since_ms = await self.posts.unpublished_since(post_id)
        if since_ms is not None:
            await self.invalidate(post_id, f"{post_id}-{since_ms}")


@dataclass(frozen=True)
class StoredImagePublisher:
    """Does the image work of one post, started by the storage that received the image.

    Safe under redelivery, and in any order: only a post that awaits its image, or is `processing`,
    changes. An image of a banned user, or of an account that is being deleted, is removed. Files
    that come late for a deleted post are removed. Failures of the service are raised, to be
    delivered again. After `MAX_FAILURES` the post becomes `failed`, so that its creator knows, and
    the event goes to the dead-letter queue.
    """

    posts: PostStore
    images: ImageStore
    publisher: ImagePublisher
    failures: DynamoFailureCounter
    standing: Callable[[str], Awaitable[Standing]]
    clock: Clock

    async def publish(self, post_id: str) -> PostStatus | None:
        """Do the work and return the post's status; None if it was deleted or is unknown. Raises
        `ImageWorkFailedError` and errors of the stores."""
        stored = await self.posts.find(post_id)
        if stored is None:
            await remove_if_deleted(self.posts, self.images, post_id)
            return None
        try:
            if not await self._may_accept(stored.post):
                await self.images.remove(post_id)
                return stored.post.status
            await self.posts.update(post_id, uploaded_post)  # a signed PUT tells the storage only
            return await self.publisher.publish(post_id)
        except PostNotFoundError:
            await remove_if_deleted(self.posts, self.images, post_id)
            return None
        except (ImageWorkFailedError, ImagePosterError) as exc:
            if await self.failures.count(post_id, error_text(exc)) >= MAX_FAILURES:
                await self.posts.update(post_id, lambda post: failed_post(post, PROCESSING_FAILED))
            raise

    async def _may_accept(self, post: Post) -> bool:
        """False if the post's creator may not write now. S3 accepts an image at a URL that was
        signed before the ban, or before the deletion of the account."""
        if post.status is not PostStatus.AWAITING_UPLOAD:
            return True
        try:
            check_may_write(await self.standing(post.creator), self.clock.now_ms())
        except (BannedError, AccountDeletedError):
            return False
        return True


async def replay_image_work(
    post_id: str, posts: PostStore, failures: DynamoFailureCounter, start: PostAction
) -> bool:
    """Make image work that was given up due again, as if it were new; False if the post is gone.
    Safe to repeat: a post that is `ready` by now stays so."""
    try:
        await failures.clear(post_id)
        await posts.update(post_id, replayed_post)
    except PostNotFoundError:
        return False
    await start(post_id)
    return True


class _Caller(NamedTuple):
    """A user's usage and standing as read, to be used until `until_ms` (since 1970)."""

    usage: Usage
    standing: Standing
    until_ms: int


@dataclass(frozen=True)
class EventualQuotas:
    """The `RateLimiter` and `UploadQuota` of one process, with quotas that take effect some seconds
    late; and callers' standing, which is read and cached with their usage."""

    store: DynamoUsageStore
    clock: Clock
    limits: Limits
    _cache: OrderedDict[str, _Caller] = field(default_factory=OrderedDict)

    async def standing(self, user: str) -> Standing:
        """The user's standing. A change takes effect some seconds late."""
        return (await self._caller(user)).standing

    def forget(self, user: str) -> None:
        """Drop a user from the cache, since this process changed their standing."""
        self._cache.pop(user, None)

    async def count(self, caller: str) -> None:
        """Check that the caller may write; the stream counts the write later. Raises
        `RateLimitedError`."""
        if self.limits.rates.writes_per_minute is not None:
            current = await self._usage(caller)
            usage.check_write(current, self.limits.rates, self.clock.now_ms())

    async def admit(self, user: str, upload: Upload) -> None:
        """Check that the user may begin an upload; the stream reserves it later. Raises
        `RateLimitedError`."""
        await self._check(user, _size(upload, self.limits))

    @asynccontextmanager
    async def reserve(self, user: str, size: int) -> AsyncIterator[None]:
        """Check that the user may begin an upload of this size; nothing is reserved. Raises
        `RateLimitedError`."""
        await self._check(user, size)
        yield

    async def charge(self, user: str, size: int) -> None:
        """Count a request's bytes directly: only the request knows their number. An image is kept
        even if counting fails."""
        if not size or self.limits.rates.bytes_per_day is None:
            return
        day = day_of(self.clock.now_ms())
        with suppress(BusyError):
            await self.store.update(user, lambda before: usage.with_bytes(before, size, day))

    async def _check(self, user: str, size: int) -> None:
        rates = self.limits.rates
        if rates.bytes_per_day is not None or rates.uploads_under_way is not None:
            usage.check_upload(await self._usage(user), rates, size, self.clock.now_ms())

    async def _usage(self, user: str) -> Usage:
        return (await self._caller(user)).usage

    async def _caller(self, user: str) -> _Caller:
        now = self.clock.now_ms()
        cached = self._cache.get(user)
        if cached is not None and cached.until_ms > now:
            return cached
        caller = _Caller(*await self.store.find_caller(user), now + _CACHE_MS)
        self._cache[user] = caller
        self._cache.move_to_end(user)
        if len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)
        return caller


@dataclass(frozen=True)
class UsageRecorder:
    """Records users' usage from the stream. For uploads it reads the current state, so a late or
    repeated delivery never counts an upload as unfinished that has ended. A write that is delivered
    twice counts twice."""

    store: DynamoUsageStore
    records: UploadRecordStore
    posts: PostStore
    clock: Clock
    limits: Limits

    async def record_batch(self, records: list[StreamRecord], failed: list[str]) -> None:
        """Record users' usage from the batch's records before the first one in `failed`; the others
        are delivered again. Usage that cannot be recorded is lost: quotas need not be exact, and an
        upload that stays open expires."""
        applied = list(takewhile(lambda record: record.number not in failed, records))
        for changes in changes_by_user(applied, self.clock.now_ms()):
            try:
                await self.record(changes)
            except Exception:  # noqa: BLE001 - the batch is applied all the same
                failure = {"Failures": 1, "_aws": emf(Failures="Count")}
                _log.exception("usage not recorded", service="stream", user=changes.user, **failure)

    async def record(self, changes: UserChanges) -> None:
        """Apply all changes in one write of the user's item. Raises `BusyError`."""
        rates, now = self.limits.rates, self.clock.now_ms()
        updates = [await self._update(upload) for upload in changes.uploads.values()]
        writes = changes.writes if rates.writes_per_minute is not None else ()

        def after(before: Usage) -> Usage:
            current = usage.without_expired(before, now)
            for at_ms in writes:
                current = usage.wrote(current, at_ms, rates)
            for update in updates:
                current = update(current)
            return current

        await self.store.update(changes.user, after)

    async def _update(self, change: UploadChange) -> Callable[[Usage], Usage]:
        """The update of the user's usage for a changed upload, by the upload's current state."""
        record, length = None, change.length
        with suppress(UploadGoneError):
            record = await self.records.find(change.post_id)
        if record is not None:
            length = record.upload.length
        size = self.limits.image_bytes if length is None else length
        booking = Booking(size, day_of(change.expires_ms - UPLOAD_KEPT_MS), change.expires_ms)
        if record is not None and record.awaiting:
            return lambda before: usage.begun(before, change.post_id, booking, self.limits.rates)
        if change.unfinished or await self.posts.was_aborted(change.post_id):
            return lambda before: usage.ended(before, change.post_id, 0)
        if change.begun:
            return lambda before: usage.count_ended_upload(before, change.post_id, booking)
        return lambda before: usage.ended(before, change.post_id, length)


def _size(upload: Upload, limits: Limits) -> int:
    """An upload's bytes; the image limit if its length is unknown."""
    return limits.image_bytes if upload.length is None else upload.length
