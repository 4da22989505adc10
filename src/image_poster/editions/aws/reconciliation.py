"""Finds and finishes work whose events were lost. Every step may be repeated, and run beside
requests.

Scheduled checks list the posts that are not at rest, and they are checked every few minutes. A walk
over all posts finds the rest once a day: counts that lag and originals without a post.

The API begins the deletion of an account, and deletes as much as its time allows. The stream goes
on at once, and the reconciliation until all data is gone.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from image_poster.adapters.dynamodb.accounts import DynamoAccountStore
from image_poster.adapters.dynamodb.checks import (
    DuePost,
    DynamoFailureCounter,
    DynamoReconciliationCursorStore,
    DynamoScheduledChecks,
    ReconciliationCursor,
)
from image_poster.adapters.s3.images import S3ImageStore
from image_poster.domain.errors import ChecksumMismatchError, UploadGoneError
from image_poster.domain.identity import Identity
from image_poster.domain.limits import FAILED_KEPT_DAYS
from image_poster.domain.posts import PROCESSING_FAILED, PostStatus, failed_post
from image_poster.editions.aws.image_work import RenditionPlaces
from image_poster.ports import Clock
from image_poster.ports.feed import FeedRebuilder
from image_poster.ports.posts import PostStore
from image_poster.ports.uploads import UploadRecordStore, UploadStore
from image_poster.services.accounts import AccountEraser
from image_poster.services.images import MAX_FAILURES
from image_poster.services.posts import PostPurger
from image_poster.services.uploads import complete_upload
from image_poster.tus import is_complete

# With the last step begun before, a request ends within the gateway's 30 s.
_REQUEST_SECONDS = 20


async def erase_content_in_time(eraser: AccountEraser, user: str) -> None:
    """The `ErasureStart` of the API: delete as much content as its time allows. It deletes no
    records, since the API may delete no items."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_REQUEST_SECONDS):
            await eraser.erase_content(user)


@dataclass(frozen=True)
class AccountDeletions:
    """Deletes the data of accounts whose deletion has begun, in small steps: each call goes on
    where the last one was stopped."""

    accounts: DynamoAccountStore
    eraser: AccountEraser

    async def run(self, user: str, seconds: float) -> bool:
        """Go on with one deletion for at most `seconds`. Return True once all data is gone.

        The last step waits until no other process accepts a write of this user: until then, data
        may come back.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                settled = await self.accounts.has_settled(user)
                await self.eraser.erase_content(user)
                await self.eraser.erase_records(user)
                if settled:
                    await self.accounts.finish_deletion(user)
                return settled
        return False

    async def run_all(self, seconds: float) -> AsyncIterator[tuple[str, bool | Exception]]:
        """Go on with all deletions for at most `seconds`. Yield each user, and True once all data
        is gone, or the error. One account's failure stops no other's deletion."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for user in await self.accounts.deleting():
            if loop.time() >= end:
                return
            try:
                yield user, await self.run(user, end - loop.time())
            except Exception as exc:  # noqa: BLE001 - as above
                yield user, exc


_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS
_THE_SERVICE = Identity("", admin=True)
# An event waits up to six hours for a free Lambda (`infra/template.yaml`). A post that fails before
# that might only have waited in a long queue.
_GIVEN_UP_MS = 6 * _HOUR_MS
_NO_RESULT = "its image work did not finish: it exceeded its time or memory, or its event was lost"


class Repair(NamedTuple):
    """The repair of a post or an account, or `error`, the reason why it failed."""

    post_id: str
    action: str
    error: Exception | None = None


@dataclass(frozen=True)
class Reconciler:
    """Finishes the work of posts whose event is overdue."""

    checks: DynamoScheduledChecks
    posts: PostStore
    images: S3ImageStore
    records: UploadRecordStore
    uploads: UploadStore
    failures: DynamoFailureCounter
    purger: PostPurger
    places: RenditionPlaces
    clock: Clock
    failed_days: int = FAILED_KEPT_DAYS

    async def run(self) -> AsyncIterator[Repair]:
        """Run one round. A failure is reported, and does not stop other repairs."""
        async for due in self.checks.due():
            if repair := await _repaired(due.post_id, "could not be repaired", self._finish(due)):
                yield repair

    async def _finish(self, due: DuePost) -> str | None:
        if due.status is None:
            await self.purger.purge(due.post_id)
            return "completed its deletion"
        if due.status is PostStatus.PROCESSING:
            return await self._processing(due)
        if due.status is PostStatus.AWAITING_UPLOAD:
            return await self._awaiting(due.post_id)
        if due.status is PostStatus.FAILED:
            return await self._failed(due)
        await self._moved(due)
        return None

    async def _failed(self, due: DuePost) -> str | None:
        """Delete a failed post once its time is over."""
        expires_ms = due.since_ms + self.failed_days * _DAY_MS
        if self.clock.now_ms() < expires_ms:
            await self.checks.reschedule(due.post_id, expires_ms)
            return None
        await self.posts.remove(due.post_id, _THE_SERVICE)
        return "deleted: it had failed long ago"

    async def _moved(self, due: DuePost) -> None:
        """Move renditions that a crash left in the wrong place."""
        if due.status is PostStatus.READY:
            await self.places.expose(due.post_id)
        else:
            await self.places.withdraw(due.post_id)
        await self.checks.reschedule(due.post_id, None)

    async def _processing(self, due: DuePost) -> str:
        """Start the image work again. After 6 hours and `MAX_FAILURES` failures, fail the post as
        the image Lambda does, so that its creator knows."""
        failures = await self.failures.count(due.post_id, _NO_RESULT)
        now = self.clock.now_ms()
        if failures >= MAX_FAILURES and now - due.since_ms >= _GIVEN_UP_MS:
            await self.posts.update(due.post_id, lambda post: failed_post(post, PROCESSING_FAILED))
            return "set to failed: its image work did not finish"
        await self.checks.reschedule(due.post_id, now + _HOUR_MS)
        await self.images.start_work(due.post_id)
        return "started its image work again"

    async def _awaiting(self, post_id: str) -> str | None:
        """Start the image work of a post whose image came without an event. If no image came,
        schedule one more check before the upload expires."""
        if await self.images.has_arrived(post_id):
            await self.checks.reschedule(post_id, self.clock.now_ms() + _HOUR_MS)
            await self.images.start_work(post_id)
            return "started its image work: the image was there"
        with suppress(UploadGoneError, ChecksumMismatchError):
            return await self._completed(post_id)
        return None

    async def _completed(self, post_id: str) -> str | None:
        record = await self.records.find(post_id)
        if record is None or not record.awaiting:
            return None
        if is_complete(record.upload, await self.uploads.offset(post_id)):
            await complete_upload(self.posts, self.uploads, post_id, record.upload)
            return "started its image work: the upload was complete"
        last = record.upload.expires_ms - _HOUR_MS
        await self.checks.reschedule(post_id, last if last > self.clock.now_ms() else None)
        return None


async def _repaired(post_id: str, failure: str, action: Awaitable[str | None]) -> Repair | None:
    """The repair by `action`, or its failure; None if there was nothing to repair."""
    try:
        done = await action
    except Exception as exc:  # noqa: BLE001 - one post's failure stops no other repair
        return Repair(post_id, failure, exc)
    return Repair(post_id, done) if done else None


class WalkStep(NamedTuple):
    """The number of posts checked, the repairs, and the position of the next step (None: the
    end)."""

    checked: int
    repairs: list[Repair]
    next: str | None


# No `next` of a rebuilder begins with this: those are JSON.
_ORIGINALS = "originals "
# Reserved for the step that is running when the time is over.
_RESERVE_MS = 60 * 1000


@dataclass(frozen=True)
class Reconciliation:
    """Repairs overdue posts and goes on with deletions of accounts in each run; once a day it also
    starts a walk, which later runs continue.

    The walk goes over all posts, to correct late counts, and then over all originals. It finds
    originals without a post: they came while their post expired.
    """

    reconciler: Reconciler
    feed: FeedRebuilder
    posts: PostStore
    images: S3ImageStore
    cursors: DynamoReconciliationCursorStore
    clock: Clock
    deletions: AccountDeletions
    batch: int = 200

    async def run(self, remaining_ms: int) -> AsyncIterator[Repair]:
        """Run one round within `remaining_ms`."""
        end = self.clock.now_ms() + remaining_ms - _RESERVE_MS
        async for repair in self.reconciler.run():
            yield repair
        async for repair in self._deletions(end):
            yield repair
        cursor, now = await self.cursors.read(), self.clock.now_ms()
        rests = cursor.after is None and now - cursor.started_ms < _DAY_MS
        if rests or cursor.until_ms > now:
            return
        if not await self.cursors.reserve(cursor, end + _RESERVE_MS):
            return
        started = now if cursor.after is None else cursor.started_ms
        cursor = ReconciliationCursor(cursor.after, started, end + _RESERVE_MS)
        async for repair in self._walk(cursor, end):
            yield repair

    async def _deletions(self, end: int) -> AsyncIterator[Repair]:
        """Go on with deletions of accounts, for at most half of the time that is left."""
        seconds = (end - self.clock.now_ms()) / 2000
        async for user, result in self.deletions.run_all(seconds):
            if isinstance(result, Exception):
                yield Repair(user, "could not delete this account's data", result)
            elif result:
                yield Repair(user, "completed the deletion of this account")

    async def _walk(self, cursor: ReconciliationCursor, end: int) -> AsyncIterator[Repair]:
        while self.clock.now_ms() < end:
            step = await self._step(cursor.after)
            cursor = cursor._replace(after=step.next)
            for repair in step.repairs:
                yield repair
            if step.next is None:
                break
            await self.cursors.store(cursor)
        await self.cursors.store(cursor._replace(until_ms=0))

    async def run_whole(self) -> AsyncIterator[WalkStep]:
        """Run the round and the whole walk, step by step, for an operator."""
        repairs = [repair async for repair in self.reconciler.run()]
        end = self.clock.now_ms() + _DAY_MS
        repairs += [repair async for repair in self._deletions(end)]
        yield WalkStep(0, repairs, "")
        step = await self._step(None)
        yield step
        while step.next is not None:
            step = await self._step(step.next)
            yield step

    async def _step(self, after: str | None) -> WalkStep:
        """Run one step from the `next` of the last one (None: the start)."""
        if after is not None and after.startswith(_ORIGINALS):
            return await self._originals(after.removeprefix(_ORIGINALS))
        batch = await self.feed.rebuild(after, self.batch)
        repairs = [
            Repair(drift.post_id, f"corrected its count from {drift.total_was} to {drift.total_is}")
            for drift in batch.drifted
        ]
        repairs += [
            Repair(post_id, "could not count its comments", error)
            for post_id, error in batch.failed
        ]
        following = _ORIGINALS if batch.next is None else batch.next
        return WalkStep(batch.checked, repairs, following)

    async def _originals(self, after: str) -> WalkStep:
        """Check some originals. One of an unknown post is only moved to quarantine, since the
        database may be the wrong one."""
        post_ids = await self.images.list_originals(after)
        results = [
            await _repaired(post_id, "could not check its original", self._clear_original(post_id))
            for post_id in post_ids
        ]
        following = f"{_ORIGINALS}{post_ids[-1]}" if post_ids else None
        return WalkStep(0, [repair for repair in results if repair is not None], following)

    async def _clear_original(self, post_id: str) -> str | None:
        if await self.posts.find(post_id) is not None:
            return None
        if await self.posts.was_deleted(post_id):
            await self.images.remove(post_id)
            return "removed remaining files of this deleted post"
        if await self.images.quarantine_original(post_id):
            return "moved an original without a post to quarantine/"
        return None
