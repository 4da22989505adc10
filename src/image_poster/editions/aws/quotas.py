"""Per-user quotas, enforced from usage that the table's stream adds up. A request reads the user's
usage at most every 10 s.

So a quota takes effect some seconds late, and no request waits for an item that many write to.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile

import structlog

from image_poster.adapters.dynamodb.stream import (
    StreamRecord,
    UploadChange,
    UserChanges,
    changes_by_user,
)
from image_poster.adapters.dynamodb.uploads import DynamoUsageStore
from image_poster.domain import usage
from image_poster.domain.errors import BusyError, UploadGoneError
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits, day_of
from image_poster.domain.uploads import Upload
from image_poster.domain.usage import NO_USAGE, Booking, Usage
from image_poster.editions.logs import emf
from image_poster.ports.clock import Clock
from image_poster.ports.posts import PostStore
from image_poster.ports.uploads import UploadRecordStore

_CACHE_MS = 10_000
_MAX_CACHED = 10_000
_log = structlog.get_logger()


@dataclass(frozen=True)
class EventualQuotas:
    """The `RateLimiter` and `UploadQuota` of one process, with quotas that take effect some seconds
    late."""

    store: DynamoUsageStore
    clock: Clock
    limits: Limits
    _cache: OrderedDict[str, tuple[Usage, int]] = field(default_factory=OrderedDict)

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
        now = self.clock.now_ms()
        current, until_ms = self._cache.get(user, (NO_USAGE, 0))
        if until_ms <= now:
            current = await self.store.find(user)
            self._cache[user] = (current, now + _CACHE_MS)
            self._cache.move_to_end(user)
            if len(self._cache) > _MAX_CACHED:
                self._cache.popitem(last=False)
        return current


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
