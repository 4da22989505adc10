"""Background work after a write or a crash. Every step may be repeated."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from image_poster.domain.errors import ChecksumMismatchError
from image_poster.domain.identity import Identity
from image_poster.domain.ids import MAX_MS
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.domain.posts import PostStatus
from image_poster.domain.uploads import Upload, has_expired, is_unreal
from image_poster.ports.clock import Clock
from image_poster.ports.comments import CommentCounter
from image_poster.ports.feed import Drift, FeedRebuilder, TimeRepair
from image_poster.ports.images import ImageCache, ImageStore, SweepableImages
from image_poster.ports.jobs import JobStarter
from image_poster.ports.posts import (
    PostStore,
    PublishedTombstones,
    ScheduledChecks,
    TombstoneQueue,
    TombstoneStore,
)
from image_poster.ports.uploads import AwaitedUploads, CountableUploads
from image_poster.services.posts import PostService
from image_poster.services.retries import PostRetries
from image_poster.services.uploads import UploadService
from image_poster.tus import is_complete

QUARANTINE_KEPT_MS = 7 * 24 * 3600 * 1000
_COMMENTS_AT_A_TIME = 500
_POSTS_AT_A_TIME = 100
_REBUILT_AT_A_TIME = 200
_UPLOADS_AT_A_TIME = 100
_THE_SERVICE = Identity("", admin=True)


@dataclass(frozen=True)
class PostPurger:
    """Purges the data of deleted posts. Resumable: the tombstone records the data left. Also
    invalidates the CDN's copies, where there is a CDN."""

    tombstones: TombstoneStore
    images: ImageStore
    shown: "ShownImages | None" = None

    async def purge(self, post_id: str) -> None:
        """Remove the images and comments of one deleted post, in small steps so that other requests
        are not delayed."""
        await self.images.remove(post_id)
        while await self.tombstones.purge_comments(post_id, _COMMENTS_AT_A_TIME):
            pass
        if self.shown is not None:
            await self.shown.forget(post_id)
        await self.tombstones.mark_purged(post_id)


@dataclass(frozen=True)
class ShownImages:
    """The CDN's copies of deleted posts' images. Invalidations are expensive and few may run at
    once, so a post that was never ready gets none."""

    tombstones: PublishedTombstones
    cache: ImageCache

    async def forget(self, post_id: str) -> None:
        """Invalidate the copies of a deleted post's renditions, if it was ever ready."""
        if await self.tombstones.was_published(post_id):
            await self.cache.forget(post_id)


class SweepReport(NamedTuple):
    """The numbers of deleted posts purged, of unknown posts' files moved to quarantine, and of
    files deleted there."""

    deleted: int
    quarantined: int
    purged: int


@dataclass(frozen=True)
class Sweeper:
    """Removes files that crashes and deletions left behind (one machine).

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
        return SweepReport(deleted, quarantined or 0, purged or 0)

    async def purge_deleted(self) -> int:
        """Purge deleted posts; return their number."""
        count, after = 0, ""
        while pending := await self.tombstones.pending(_POSTS_AT_A_TIME, after):
            for post_id in pending:
                count += await self.retries.run("purging", post_id, self._purge, post_id) or 0
            after = pending[-1]
        return count

    async def _purge(self, post_id: str) -> int:
        await self.purger.purge(post_id)
        return 1

    async def put_back(self) -> int:
        """Move files of known posts back from quarantine, after the right database was restored.
        Return the number of files moved."""
        return await self.retries.run("emptying quarantine", "", self._put_all_back) or 0

    async def _put_all_back(self) -> int:
        count = 0
        async for post_id in self.images.quarantined(MAX_MS):
            count += await self.retries.run("putting back", post_id, self._put_back, post_id) or 0
        return count

    async def _put_back(self, post_id: str) -> int:
        stored = await self.posts.find(post_id)
        if stored is None:
            return 0
        awaiting = stored.post.status is PostStatus.AWAITING_UPLOAD
        return await self.images.put_back(post_id, awaiting=awaiting)

    async def is_asked_for(self, post_id: str) -> bool:
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
            count += await run(work, post_id, self._purge_unknown, post_id, before_ms) or 0
        return count

    async def _purge_unknown(self, post_id: str, before_ms: int) -> int:
        if await self.is_asked_for(post_id):
            return 0
        return await self.images.purge(post_id, before_ms)

    async def _sweep_leftovers(self, older_than_ms: int) -> int:
        count, work = 0, "sweeping leftovers"
        async for post_id in self.images.leftovers(older_than_ms):
            if await self.posts.find(post_id) is None:
                count += await self.retries.run(work, post_id, self._clear, post_id) or 0
        return count

    async def _clear(self, post_id: str) -> int:
        """Remove or quarantine the post's files; return the number of files moved to quarantine."""
        if await self.posts.was_deleted(post_id):
            await self.images.remove(post_id)
            return 0
        return await self.images.quarantine(post_id, self.clock.service_ms())


@dataclass(frozen=True)
class UploadSettler:
    """Completes complete uploads and deletes expired ones, every hour beside running requests (one
    machine).

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
            completed += await self.retries.run(work, post_id, self._complete, post_id, upload) or 0
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
            expired += await self.retries.run(work, post_id, self._expire, post_id, upload) or 0
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
            for found in page:
                yield found
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


class PostEvent(StrEnum):
    """An event of a post: `RECEIVED`, all pieces of its image are there; `DELETED`, also by
    expiry."""

    RECEIVED = "received"
    DELETED = "deleted"


class PostChanges(NamedTuple):
    """One post's changes in a stream batch: the ids of its changed comments, and its events."""

    post_id: str
    comments: frozenset[str]
    events: frozenset[PostEvent]


@dataclass(frozen=True)
class ChangeApplier:
    """Applies changes of posts and comments after their requests (AWS). Changes may be delivered
    more than once.

    Counting is independent: it uses the table only, and no fault of the image storage or the CDN
    delays it. All other work may fail: then it is due at once, and `Reconciler` does it.
    """

    counter: CommentCounter
    starter: JobStarter
    purger: PostPurger
    due: ScheduledChecks

    async def count(self, changes: PostChanges) -> None:
        """Count the comments."""
        if changes.comments:
            await self.counter.count(changes.post_id, changes.comments)

    async def follow(self, changes: PostChanges) -> None:
        """Start the image work, or purge the deleted post. Raises the errors of these."""
        try:
            if PostEvent.DELETED in changes.events:
                await self.purger.purge(changes.post_id)
            elif PostEvent.RECEIVED in changes.events:
                await self.starter.start(changes.post_id)
        except Exception:
            await self.due.reschedule(changes.post_id, 0)
            raise
