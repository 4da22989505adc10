"""Background work of one machine after a write or a crash, post by post. Every step may be
repeated, and a post that fails stops no other post."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, ParamSpec

import structlog

from image_poster.domain.errors import ChecksumMismatchError
from image_poster.domain.identity import Identity
from image_poster.domain.ids import MAX_MS
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.domain.posts import PostStatus
from image_poster.domain.uploads import Upload, has_expired, is_unreal
from image_poster.ports import Clock
from image_poster.ports.feed import Drift, FeedRebuilder, TimeRepair
from image_poster.ports.images import ImageStore, SweepableImages
from image_poster.ports.posts import PostStore, TombstoneQueue
from image_poster.ports.uploads import AwaitedUploads, CountableUploads
from image_poster.services.posts import PostPurger, PostService
from image_poster.services.uploads import UploadService
from image_poster.tus import is_complete

QUARANTINE_KEPT_MS = 7 * 24 * 3600 * 1000
_POSTS_AT_A_TIME = 100
_REBUILT_AT_A_TIME = 200
_UPLOADS_AT_A_TIME = 100
_THE_SERVICE = Identity("", admin=True)
_FAULT_PAUSE_SECONDS, _MAX_FAULT_PAUSE_SECONDS = 1.0, 60.0

_log = structlog.get_logger()

Arguments = ParamSpec("Arguments")


class PostFailure(NamedTuple):
    """A failure: the work, its post (empty: a whole round), and the reason."""

    work: str
    post_id: str
    error: Exception


class _Pause(NamedTuple):
    """The time of the next try, in seconds of the event loop's clock, and the pause after it."""

    until: float
    next_seconds: float


@dataclass
class PostRetries:
    """Runs work post by post. After a failure the post is skipped for a pause, which doubles with
    each failure. Failures are stored until `drain_failures` reports them."""

    first_pause_seconds: float = 1.0
    max_pause_seconds: float = 600.0
    _pauses: dict[tuple[str, str], _Pause] = field(default_factory=dict)
    _failures: list[PostFailure] = field(default_factory=list)

    async def run(
        self,
        work: str,
        post_id: str,
        action: Callable[Arguments, Awaitable[int]],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> int:
        """Return the result of `action`; 0 if it failed, or failed before and is not due yet."""
        key, now = (work, post_id), asyncio.get_running_loop().time()
        pause = self._pauses.get(key, _Pause(now, self.first_pause_seconds))
        if now < pause.until:
            return 0
        try:
            result = await action(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001 - whatever it was, other posts have their turn
            self._failures.append(PostFailure(work, post_id, exc))
            seconds = min(2 * pause.next_seconds, self.max_pause_seconds)
            self._pauses[key] = _Pause(now + pause.next_seconds, seconds)
            return 0
        self._pauses.pop(key, None)
        return result

    def drain_failures(self) -> list[PostFailure]:
        """Return the failures since the last call."""
        failures, self._failures = self._failures, []
        return failures


class SweepReport(NamedTuple):
    """The numbers of deleted posts purged, of unknown posts' files moved to quarantine, and of
    files deleted there."""

    deleted: int
    quarantined: int
    purged: int


@dataclass(frozen=True)
class Sweeper:
    """Removes files that crashes and deletions left behind.

    Only files of posts known to be deleted are deleted at once. Files of unknown posts are moved to
    quarantine: a crash may have left them, but the database may also be empty, or an older copy.
    They are deleted `QUARANTINE_KEPT_MS` later, unless a post needs them by then.

    Beside running requests, sweep only files older than any of these: a request may be about to
    write the row of a younger one. A post that fails is left to a later round (`retries`).
    """

    posts: PostStore
    images: SweepableImages
    tombstones: TombstoneQueue
    purger: PostPurger
    clock: Clock
    retries: PostRetries = field(default_factory=PostRetries)

    async def sweep(self, *, older_than_ms: int) -> SweepReport:
        """Sweep the files from before that time, once. Deletions come first, since moving needs
        free space."""
        deleted = await self.purge_deleted()
        run, clock = self.retries.run, self.clock
        purged = await run("emptying quarantine", "", self._purge_quarantine)
        quarantined = await run("sweeping leftovers", "", self._sweep_leftovers, older_than_ms)
        await self.tombstones.forget(service_ms=clock.service_ms(), now_ms=clock.now_ms())
        return SweepReport(deleted, quarantined, purged)

    async def purge_deleted(self) -> int:
        """Purge deleted posts; return their number."""
        count, after = 0, ""
        while pending := await self.tombstones.pending(_POSTS_AT_A_TIME, after):
            for post_id in pending:
                count += await self.retries.run("purging", post_id, self._purge, post_id)
            after = pending[-1]
        return count

    async def _purge(self, post_id: str) -> int:
        await self.purger.purge(post_id)
        return 1

    async def put_back(self) -> int:
        """Move files of known posts back from quarantine, after the right database was restored.
        Return the number of files moved."""
        return await self.retries.run("emptying quarantine", "", self._put_all_back)

    async def _put_all_back(self) -> int:
        count = 0
        async for post_id in self.images.quarantined(MAX_MS):
            count += await self.retries.run("putting back", post_id, self._put_back, post_id)
        return count

    async def _put_back(self, post_id: str) -> int:
        stored = await self.posts.find(post_id)
        if stored is None:
            return 0
        awaiting = stored.post.status is PostStatus.AWAITING_UPLOAD
        return await self.images.put_back(post_id, awaiting=awaiting)

    async def lacks_original(self, post_id: str) -> bool:
        """Return True if the post exists and lacks its original: the right database has been
        restored, and its files have not yet."""
        if await self.posts.find(post_id) is None:
            return False
        return not await self.images.has_original(post_id)

    async def _purge_quarantine(self) -> int:
        # By both clocks: a wrong one deletes nothing.
        now_ms = min(self.clock.now_ms(), self.clock.service_ms())
        before_ms, count = now_ms - QUARANTINE_KEPT_MS, 0
        run, work = self.retries.run, "emptying quarantine"
        async for post_id in self.images.quarantined(before_ms):
            count += await run(work, post_id, self._purge_unknown, post_id, before_ms)
        return count

    async def _purge_unknown(self, post_id: str, before_ms: int) -> int:
        if await self.lacks_original(post_id):
            return 0
        return await self.images.purge(post_id, before_ms)

    async def _sweep_leftovers(self, older_than_ms: int) -> int:
        count, work = 0, "sweeping leftovers"
        async for post_id in self.images.leftovers(older_than_ms):
            if await self.posts.find(post_id) is None:
                count += await self.retries.run(work, post_id, self._clear, post_id)
        return count

    async def _clear(self, post_id: str) -> int:
        """Remove or quarantine the post's files; return the number of files moved to quarantine."""
        if await self.posts.was_deleted(post_id):
            await self.images.remove(post_id)
            return 0
        # By the later clock: after a restart, both clocks may start at its time.
        now_ms = max(self.clock.now_ms(), self.clock.service_ms())
        return await self.images.quarantine(post_id, now_ms)


@dataclass(frozen=True)
class UploadSettler:
    """Completes complete uploads and deletes expired ones, every hour beside running requests.

    An upload whose original is there is complete, even if the database says otherwise. Either a
    crash came before its row was written, or the database is an older copy, from before the last
    byte came.
    """

    awaited: AwaitedUploads
    images: ImageStore
    uploads: CountableUploads
    upload_service: UploadService
    post_service: PostService
    clock: Clock
    retries: PostRetries = field(default_factory=PostRetries)

    async def complete(self) -> int:
        """Complete the complete uploads; return their number."""
        completed, work = 0, "completing an upload"
        async for post_id, upload in self._awaiting():
            completed += await self.retries.run(work, post_id, self._complete, post_id, upload)
        return completed

    async def _complete(self, post_id: str, upload: Upload) -> int:
        if await self._is_whole(post_id, upload):
            with suppress(ChecksumMismatchError):  # then its client finds it empty
                await self.upload_service.complete(post_id, upload)
                return 1
        return 0

    async def expire(self) -> int:
        """Delete the expired uploads; return their number."""
        service_ms, now_ms, expired = self.clock.service_ms(), self.clock.now_ms(), 0
        work = "expiring an upload"
        async for post_id, upload in self._awaiting():
            if is_unreal(upload.expires_ms, now_ms):
                await self.awaited.set_expiry(post_id, now_ms + UPLOAD_KEPT_MS)
            if not has_expired(post_id, upload.expires_ms, service_ms=service_ms, now_ms=now_ms):
                continue
            expired += await self.retries.run(work, post_id, self._expire, post_id, upload)
        return expired

    async def _expire(self, post_id: str, upload: Upload) -> int:
        if await self.images.has_original(post_id):
            await self.upload_service.complete(post_id, upload)
            return 0
        await self.post_service.delete(post_id, _THE_SERVICE, ended=True)
        return 1

    async def _awaiting(self) -> AsyncIterator[tuple[str, Upload]]:
        """All awaited uploads, in pages; other tasks run in between."""
        after = ""
        while page := await self.awaited.awaiting(after, _UPLOADS_AT_A_TIME):
            for upload in page:
                yield upload
            after = page[-1][0]
            await asyncio.sleep(0)

    async def _is_whole(self, post_id: str, upload: Upload) -> bool:
        """Return True if all bytes are there. `offset` takes the upload over, so it is called only
        if all may be there."""
        if await self.images.has_original(post_id):
            return True
        if not is_complete(upload, await self.uploads.received(post_id)):
            return False
        return is_complete(upload, await self.uploads.offset(post_id))


class RebuildReport(NamedTuple):
    """The number of posts checked, and the posts that were wrong and are corrected now."""

    checked: int
    drifted: list[Drift]
    repaired: list[TimeRepair]


@dataclass(frozen=True)
class Rebuilder:
    """Recomputes counts and latest comments from the comments, in batches of posts, so that it can
    run beside the service."""

    feed: FeedRebuilder
    batch: int = _REBUILT_AT_A_TIME

    async def rebuild(self) -> RebuildReport:
        """Rebuild all posts."""
        checked, drifted, repaired, after = 0, list[Drift](), list[TimeRepair](), None
        while True:
            step = await self.feed.rebuild(after, self.batch)
            checked += step.checked
            drifted += step.drifted
            repaired += step.repaired
            if step.next is None:
                return RebuildReport(checked, drifted, repaired)
            after = step.next


async def repeat_step(
    name: str,
    step: Callable[[], Awaitable[None]],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Repeat a step forever. A repeated error is logged with its traceback only the first time.
    After an error the next step waits, for a time in seconds that doubles up to a minute."""
    fault, seconds = "", _FAULT_PAUSE_SECONDS
    while True:
        try:
            await step()
        except Exception as exc:  # noqa: BLE001 - the loop must outlive whatever it was
            lasting, fault = fault == repr(exc), repr(exc)
            _log.error("background work failed", work=name, error=fault, exc_info=not lasting)
            await pause(seconds)
            seconds = min(2 * seconds, _MAX_FAULT_PAUSE_SECONDS)
        else:
            fault, seconds = "", _FAULT_PAUSE_SECONDS
