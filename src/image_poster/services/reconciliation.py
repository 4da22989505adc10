"""Finds and finishes work whose events were lost (AWS). Every step may be repeated, and run beside
requests.

`ScheduledChecks` lists the posts that are not at rest, and they are checked every few minutes. A
walk over all posts finds the rest once a day: counts that lag and originals without a post.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.errors import ChecksumMismatchError, UploadGoneError
from image_poster.domain.posts import PROCESSING_FAILED, PostStatus, failed_post
from image_poster.ports.clock import Clock
from image_poster.ports.feed import FeedRebuilder
from image_poster.ports.images import ArrivingImages
from image_poster.ports.jobs import (
    FailureCounter,
    JobStarter,
    ReconciliationCursor,
    ReconciliationCursorStore,
)
from image_poster.ports.posts import DuePost, PostStore, ScheduledChecks
from image_poster.ports.uploads import UploadRecordStore, UploadStore
from image_poster.services.maintenance import PostPurger
from image_poster.services.uploads import complete_upload
from image_poster.tus import is_complete

_HOUR_MS = 3600 * 1000
# An event waits for a free Lambda for six hours at most (`infra/template.yaml`): who is given up
# before that would be given up for being one of many.
_GIVEN_UP_MS = 6 * _HOUR_MS
_MAX_FAILURES = 3
_NO_WORD = "nothing was heard of its image work: out of time or memory, or its event was lost"


class Repair(NamedTuple):
    """The repair of a post, or `error`, the reason why it failed."""

    post_id: str
    what: str
    error: Exception | None = None


@dataclass(frozen=True)
class Reconciler:
    """Finishes the work of posts whose event is overdue."""

    due: ScheduledChecks
    posts: PostStore
    images: ArrivingImages
    records: UploadRecordStore
    uploads: UploadStore
    failures: FailureCounter
    starter: JobStarter
    purger: PostPurger
    clock: Clock

    async def heal(self) -> AsyncIterator[Repair]:
        """Run one round. A failure is reported, and does not stop other repairs."""
        async for found in self.due.due():
            try:
                what = await self._heal(found)
            except Exception as exc:  # noqa: BLE001 - whatever it was, it is due still
                yield Repair(found.post_id, "not healed", exc)
            else:
                if what:
                    yield Repair(found.post_id, what)

    async def _heal(self, found: DuePost) -> str | None:
        if found.status is None:
            await self.purger.purge(found.post_id)
            return "deleted to its end"
        if found.status is PostStatus.PROCESSING:
            return await self._processing(found)
        return await self._awaiting(found.post_id)

    async def _processing(self, found: DuePost) -> str:
        """Start the image work again. After 6 hours and 3 failures, fail the post as the image
        Lambda does, so that its creator knows."""
        failures = await self.failures.note(found.post_id, _NO_WORD)
        now = self.clock.now_ms()
        if failures >= _MAX_FAILURES and now - found.since_ms >= _GIVEN_UP_MS:
            await self.posts.update(
                found.post_id, lambda post: failed_post(post, PROCESSING_FAILED)
            )
            return "given up: nothing was heard of its image work"
        await self.due.reschedule(found.post_id, now + _HOUR_MS)
        await self.starter.start(found.post_id)
        return "image work begun again"

    async def _awaiting(self, post_id: str) -> str | None:
        """Start the image work of a post whose image came without an event. If no image came,
        schedule one more check before the upload expires."""
        if await self.images.has_arrived(post_id):
            await self.due.reschedule(post_id, self.clock.now_ms() + _HOUR_MS)
            await self.starter.start(post_id)
            return "its image had come: image work begun"
        with suppress(UploadGoneError, ChecksumMismatchError):
            return await self._completed(post_id)
        return None

    async def _completed(self, post_id: str) -> str | None:
        record = await self.records.find(post_id)
        if record is None or not record.awaiting:
            return None
        if is_complete(record.upload, await self.uploads.offset(post_id)):
            await complete_upload(self.posts, self.uploads, post_id, record.upload)
            return "its upload was complete: image work begun"
        last = record.upload.expires_ms - _HOUR_MS
        await self.due.reschedule(post_id, last if last > self.clock.now_ms() else None)
        return None


class WalkStep(NamedTuple):
    """The number of posts checked, the repairs, and the position of the next step (None: the
    end)."""

    checked: int
    healed: list[Repair]
    next: str | None


@dataclass(frozen=True)
class FullReconciliation:
    """A walk over all posts, to correct late counts, and then over all originals. It finds
    originals without a post: they came while their post expired."""

    feed: FeedRebuilder
    posts: PostStore
    images: ArrivingImages
    batch: int = 200

    async def step(self, after: str | None) -> WalkStep:
        """Run one step from the `next` of the last one (None: the start)."""
        if after is not None and after.startswith(_ORIGINALS):
            return await self._originals(after.removeprefix(_ORIGINALS))
        found = await self.feed.rebuild(after, self.batch)
        mended = [
            Repair(one.post_id, f"{one.total_was} comments kept, {one.total_is} found; mended")
            for one in found.drifted
        ]
        mended += [Repair(post_id, "not counted anew", error) for post_id, error in found.failed]
        return WalkStep(found.checked, mended, _ORIGINALS if found.next is None else found.next)

    async def _originals(self, after: str) -> WalkStep:
        """Check some originals. One of an unknown post is only moved to quarantine, since the
        database may be the wrong one."""
        post_ids, done = await self.images.kept(after), list[Repair]()
        for post_id in post_ids:
            try:
                action = await self._clear_original(post_id)
            except Exception as exc:  # noqa: BLE001 - whatever it was, others have their turn
                done.append(Repair(post_id, "its original was not looked at", exc))
            else:
                done += [Repair(post_id, action)] if action else []
        return WalkStep(0, done, f"{_ORIGINALS}{post_ids[-1]}" if post_ids else None)

    async def _clear_original(self, post_id: str) -> str | None:
        if await self.posts.find(post_id) is not None:
            return None
        if await self.posts.was_deleted(post_id):
            await self.images.remove(post_id)
            return "deleted: what was left of it is removed"
        if await self.images.set_aside(post_id):
            return "an original without a post: moved to quarantine/"
        return None


# No `next` of a rebuilder begins so: those are JSON.
_ORIGINALS = "originals "
_DAY_MS = 24 * _HOUR_MS
# Left for what is under way when the time is over.
_RESERVE_MS = 60 * 1000


@dataclass(frozen=True)
class Reconciliation:
    """Repairs overdue posts in each run; once a day it also starts the walk, which later runs
    continue."""

    reconciler: Reconciler
    walk: FullReconciliation
    keeper: ReconciliationCursorStore
    clock: Clock

    async def run(self, remaining_ms: int) -> AsyncIterator[Repair]:
        """Run one round within `remaining_ms`."""
        end = self.clock.now_ms() + remaining_ms - _RESERVE_MS
        async for one in self.reconciler.heal():
            yield one
        state = await self.keeper.read()
        now = self.clock.now_ms()
        rests = state.after is None and now - state.started_ms < _DAY_MS
        if rests or state.until_ms > now or not await self.keeper.take(state, end + _RESERVE_MS):
            return
        started = now if state.after is None else state.started_ms
        state = ReconciliationCursor(state.after, started, end + _RESERVE_MS)
        async for one in self._walk(state, end):
            yield one

    async def _walk(self, state: ReconciliationCursor, end: int) -> AsyncIterator[Repair]:
        while self.clock.now_ms() < end:
            step = await self.walk.step(state.after)
            state = state._replace(after=step.next)
            for one in step.healed:
                yield one
            if step.next is None:
                break
            await self.keeper.keep(state)
        await self.keeper.keep(state._replace(until_ms=0))

    async def run_whole(self) -> AsyncIterator[WalkStep]:
        """Run the round and the whole walk, step by step, for an operator."""
        yield WalkStep(0, [one async for one in self.reconciler.heal()], "")
        after: str | None = None
        while True:
            step = await self.walk.step(after)
            yield step
            if (after := step.next) is None:
                return
