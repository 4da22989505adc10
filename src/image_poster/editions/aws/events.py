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

from image_poster.adapters.dynamodb.boto import BackoffBudget
from image_poster.adapters.dynamodb.checks import DynamoScheduledChecks
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter
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
from image_poster.domain.accounts import (
    Booking,
    Standing,
    Usage,
    add_bytes,
    add_upload,
    add_write,
    check_may_write,
    check_upload,
    check_write,
    count_ended_upload,
    remove_expired,
    remove_upload,
)
from image_poster.domain.errors import BusyError, UploadGoneError
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits, day_of
from image_poster.domain.uploads import Upload
from image_poster.editions.logs import emf
from image_poster.ports import Clock
from image_poster.ports.posts import PostStore
from image_poster.ports.uploads import UploadRecordStore
from image_poster.services.posts import PostPurger

PostAction = Callable[[str], Awaitable[None]]
# Of the stream Lambda's 300 s. After it, the batch is delivered again.
COUNT_WAIT_SECONDS = 180
_CACHE_MS = 10_000
_MAX_CACHED = 10_000
_log = structlog.get_logger()


@dataclass(frozen=True)
class ChangeApplier:
    """Applies a batch of the stream's records, post by post: first all counts, then the steps that
    follow.

    Counting uses the table only, so no fault of the image storage or the CDN delays it. Only a
    failed count has its records delivered again. A failed step that follows is due at once, for
    `Reconciler`. `start_image_work` starts it for a post whose image is complete; `withdraw` is
    `RenditionPlaces.withdraw`, for a hidden post.
    """

    counter: DynamoCommentCounter
    start_image_work: PostAction
    purger: PostPurger
    checks: DynamoScheduledChecks
    withdraw: PostAction

    async def apply(self, records: list[StreamRecord]) -> list[str]:
        """Apply a batch; return the sequence numbers from which it must be delivered again."""
        batch = changes_by_post(records)
        budget = BackoffBudget(COUNT_WAIT_SECONDS)

        async def count(changes: PostChanges) -> None:
            if changes.comments:
                await self.counter.count(changes.post_id, changes.comments, budget)

        # A hot post is the likeliest to be throttled: the others do not wait for it.
        failed = [
            changes.first
            for changes in sorted(batch, key=lambda changes: len(changes.comments))
            if not await _logged(count, changes, "counted")
        ]
        for changes in batch:
            if changes.events:
                await _logged(self._follow, changes, "followed")
        return failed

    async def _follow(self, changes: PostChanges) -> None:
        """Start the image work, purge the deleted post, or withdraw the images of a hidden one.
        Raises the errors of these."""
        try:
            if PostEvent.DELETED in changes.events:
                await self.purger.purge(changes.post_id)
            elif PostEvent.HIDDEN in changes.events:
                await self.withdraw(changes.post_id)
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


class _Caller(NamedTuple):
    """A user's usage and standing as read, to be used until `until_ms` (since 1970)."""

    usage: Usage
    standing: Standing
    until_ms: int


@dataclass(frozen=True)
class EventualQuotas:
    """The `RateLimiter` and `UploadQuota` of one process, with quotas that take effect some seconds
    late. It also has callers' standing, which is read and cached with their usage."""

    store: DynamoUsageStore
    clock: Clock
    limits: Limits
    _cache: OrderedDict[str, _Caller] = field(default_factory=OrderedDict)

    async def standing(self, user: str) -> Standing:
        """The user's standing. A change takes effect some seconds late."""
        return (await self._caller(user)).standing

    async def check_may_write(self, user: str, *, while_banned: bool = False) -> None:
        """Check the user's standing. Raises `AccountDeletedError`, and `BannedError` unless
        `while_banned`."""
        standing = await self.standing(user)
        check_may_write(standing, self.clock.now_ms(), while_banned=while_banned)

    def forget(self, user: str) -> None:
        """Drop a user from the cache, since this process changed their standing."""
        self._cache.pop(user, None)

    async def count(self, caller: str) -> None:
        """Check that the caller may write; the stream counts the write later. Raises
        `RateLimitedError`."""
        if self.limits.rates.writes_per_minute is not None:
            current = await self._usage(caller)
            check_write(current, self.limits.rates, self.clock.now_ms())

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
            await self.store.update(user, lambda before: add_bytes(before, size, day))

    async def _check(self, user: str, size: int) -> None:
        rates = self.limits.rates
        if rates.bytes_per_day is not None or rates.uploads_under_way is not None:
            check_upload(await self._usage(user), rates, size, self.clock.now_ms())

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
            current = remove_expired(before, now)
            for at_ms in writes:
                current = add_write(current, at_ms, rates)
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
            return lambda before: add_upload(before, change.post_id, booking, self.limits.rates)
        if change.unfinished or await self.posts.was_aborted(change.post_id):
            return lambda before: remove_upload(before, change.post_id, 0)
        if change.begun:
            return lambda before: count_ended_upload(before, change.post_id, booking)
        return lambda before: remove_upload(before, change.post_id, length)


def _size(upload: Upload, limits: Limits) -> int:
    """An upload's bytes; the image limit if its length is unknown."""
    return limits.image_bytes if upload.length is None else upload.length
