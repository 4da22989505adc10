"""The queue of image work in memory."""

from fakes.state import MemoryState, PostRecord
from image_poster.domain.posts import (
    PROCESSING_FAILED,
    PostStatus,
    failed_post,
    is_parked,
    replayed_post,
)
from image_poster.ports import Clock
from image_poster.ports.posts import Job, ParkedJob


class MemoryJobQueue:
    """`JobQueue` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def lease(self, lease_ms: int) -> Job | None:
        now = self._clock.service_ms()
        due = [
            record
            for record in self._state.posts.values()
            if record.post.status is PostStatus.PROCESSING and record.due_at <= now
        ]
        if not due:
            return None
        first = min(due, key=lambda record: (record.turn, record.due_at, record.post.id))
        job = Job(first.post.id, first.leases + 1, first.failures)
        self._state.change(job.post_id, due_at=now + lease_ms, leases=job.leases)
        return job

    async def retry(self, job: Job, *, delay_ms: int, error: str) -> None:
        if self._is_processing(job.post_id):
            due_at = self._clock.service_ms() + delay_ms
            failures = job.failures + 1
            self._state.change(job.post_id, due_at=due_at, error=error, failures=failures)

    async def postpone(self, job: Job, *, delay_ms: int, error: str) -> None:
        if self._is_processing(job.post_id):
            due_at = self._clock.service_ms() + delay_ms
            self._state.change(job.post_id, due_at=due_at, error=error, leases=job.leases - 1)

    async def park(self, job: Job, *, error: str) -> None:
        if self._is_processing(job.post_id):
            parked = failed_post(self._state.post(job.post_id), PROCESSING_FAILED)
            due_at = self._clock.service_ms()
            self._state.change(job.post_id, post=parked, error=error, due_at=due_at)

    async def expired_failures(self, before_ms: int, limit: int) -> list[str]:
        failed = [
            (record.due_at, post_id)
            for post_id, record in self._state.posts.items()
            if record.post.status is PostStatus.FAILED and record.due_at < before_ms
        ]
        return [post_id for _, post_id in sorted(failed)[:limit]]

    async def parked(self) -> list[ParkedJob]:
        return [
            ParkedJob(post_id, record.leases, record.error or "")
            for post_id, record in sorted(self._state.posts.items())
            if is_parked(record.post)
        ]

    async def replay(self, post_id: str) -> bool:
        record = self._state.posts.get(post_id)
        if record is None or not is_parked(record.post):
            return False
        due_at = self._clock.service_ms()
        post = replayed_post(record.post)
        fresh = PostRecord(post, due_at=due_at, turn=self._state.queue_turn(post))
        self._state.posts[post_id] = fresh
        return True

    def _is_processing(self, post_id: str) -> bool:
        record = self._state.posts.get(post_id)
        return record is not None and record.post.status is PostStatus.PROCESSING
