"""Per-user quotas on AWS, enforced from usage that the table's stream adds up. A request reads the
user's usage at most every 10 s.

So a quota takes effect some seconds late, and no request waits for an item that many write to.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from image_poster.domain import usage
from image_poster.domain.errors import BusyError, UploadGoneError
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits, day_of
from image_poster.domain.uploads import Upload
from image_poster.domain.usage import Booking, Usage
from image_poster.ports.clock import Clock
from image_poster.ports.posts import PostStore
from image_poster.ports.quotas import UsageStore
from image_poster.ports.uploads import UploadRecordStore

_REMEMBERED_MS = 10_000
_MAX_REMEMBERED = 10_000


class _Seen(NamedTuple):
    usage: Usage
    until_ms: int


@dataclass(frozen=True)
class EventualQuotas:
    """The `RateLimiter` and `UploadQuota` of one process, with quotas that take effect some seconds
    late."""

    store: UsageStore
    clock: Clock
    limits: Limits
    _seen: OrderedDict[str, _Seen] = field(default_factory=OrderedDict)

    async def count(self, caller: str) -> None:
        if self.limits.rates.writes_per_minute is not None:
            found = await self._taken(caller)
            usage.check_write(found, self.limits.rates, self.clock.now_ms())

    async def admit(self, user: str, upload: Upload) -> None:
        """Check that the user may begin an upload; the stream reserves it later. Raises
        `RateLimitedError`."""
        await self._check(user, _size(upload, self.limits))

    @asynccontextmanager
    async def reserve(self, user: str, size: int) -> AsyncIterator[None]:
        await self._check(user, size)
        yield

    async def charge(self, user: str, size: int) -> None:
        """Count a request's bytes directly: only the request knows their number. An image is kept
        even if counting fails."""
        if not size or self.limits.rates.bytes_per_day is None:
            return
        day = day_of(self.clock.now_ms())
        with suppress(BusyError):
            await self.store.update(user, lambda found: usage.with_bytes(found, size, day))

    async def _check(self, user: str, size: int) -> None:
        rates = self.limits.rates
        if rates.bytes_per_day is not None or rates.uploads_under_way is not None:
            usage.check_upload(await self._taken(user), rates, size, self.clock.now_ms())

    async def _taken(self, user: str) -> Usage:
        now, seen = self.clock.now_ms(), self._seen.get(user)
        if seen is None or seen.until_ms <= now:
            seen = _Seen(await self.store.find(user), now + _REMEMBERED_MS)
            self._seen[user] = seen
            self._seen.move_to_end(user)
            if len(self._seen) > _MAX_REMEMBERED:
                self._seen.popitem(last=False)
        return seen.usage


class UploadChange(NamedTuple):
    """A change of a post that awaits its bytes, or did. `begun`: it has just started to await them.
    `unfinished`: they will not come.

    `length` is their number, if known. `expires_ms` is the time until which they are awaited, a day
    after the reservation.
    """

    post_id: str
    begun: bool
    unfinished: bool
    length: int | None
    expires_ms: int


class UserChanges(NamedTuple):
    """One user's changes in a stream batch: the times of writes (milliseconds since 1970), and the
    changed uploads."""

    user: str
    writes: tuple[int, ...]
    uploads: tuple[UploadChange, ...]


_Change = Callable[[Usage], Usage]


@dataclass(frozen=True)
class UsageRecorder:
    """Records users' usage from the stream. For uploads it reads the current state, so late or
    repeated deliveries leave none under way that is not. A write that is delivered twice counts
    twice."""

    store: UsageStore
    records: UploadRecordStore
    posts: PostStore
    clock: Clock
    limits: Limits

    async def record(self, changes: UserChanges) -> None:
        """Apply all changes in one write of the user's item. Raises `BusyError`."""
        rates, now = self.limits.rates, self.clock.now_ms()
        uploads = [await self._change(news) for news in changes.uploads]

        def after(found: Usage) -> Usage:
            found = usage.without_expired(found, now)
            for at in changes.writes if rates.writes_per_minute is not None else ():
                found = usage.wrote(found, at, rates)
            for change in uploads:
                found = change(found)
            return found

        await self.store.update(changes.user, after)

    async def _change(self, news: UploadChange) -> _Change:
        record, length = None, news.length
        with suppress(UploadGoneError):
            record = await self.records.find(news.post_id)
        if record is not None:
            length = record.upload.length
        size = self.limits.image_bytes if length is None else length
        booking = Booking(size, day_of(news.expires_ms - UPLOAD_KEPT_MS), news.expires_ms)
        if record is not None and record.awaiting:
            return lambda found: usage.begun(found, news.post_id, booking, self.limits.rates)
        if news.unfinished or await self.posts.was_aborted(news.post_id):
            return lambda found: usage.ended(found, news.post_id, 0)
        if news.begun:
            return lambda found: usage.passed(found, news.post_id, booking)
        return lambda found: usage.ended(found, news.post_id, length)


def _size(upload: Upload, limits: Limits) -> int:
    """An upload's bytes; the image limit if its length is unknown."""
    return limits.image_bytes if upload.length is None else upload.length
