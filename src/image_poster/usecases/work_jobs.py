"""Take image work as it comes due, retry what broke, and park what keeps breaking."""

from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.errors import ImagePosterError, ImageWorkFailedError
from image_poster.ports.job_queue import Job, JobQueue
from image_poster.usecases.publish_image import PublishImage

_FIRST_RETRY_MS = 1_000


class JobDone(NamedTuple):
    """A job and how it ended: a post status, `deleted`, `retried` or `parked` (with the error)."""

    post_id: str
    outcome: str
    error: str | None = None


@dataclass(frozen=True)
class WorkJobs:
    """`lease_ms` must be longer than the renderer ever takes, or two would work on one picture
    (which is harmless, and a waste)."""

    jobs: JobQueue
    publish_image: PublishImage
    lease_ms: int
    max_attempts: int = 3

    async def __call__(self) -> JobDone | None:
        """Do one job that is due; None if there was none.

        An attempt that ended with the whole process counts too, so that a picture which kills it
        cannot do so for ever.
        """
        job = await self.jobs.lease(self.lease_ms)
        if job is None:
            return None
        if job.attempt > self.max_attempts:
            return await self._park(job, "the process ended during each attempt")
        try:
            status = await self.publish_image(job.post_id)
        except (ImageWorkFailedError, ImagePosterError) as exc:
            return await self._broke(job, f"{type(exc).__name__}: {exc}")
        return JobDone(job.post_id, status or "deleted")

    async def _broke(self, job: Job, error: str) -> JobDone:
        if job.attempt >= self.max_attempts:
            return await self._park(job, error)
        await self.jobs.retry(job, delay_ms=_FIRST_RETRY_MS << (job.attempt - 1), error=error)
        return JobDone(job.post_id, "retried", error)

    async def _park(self, job: Job, error: str) -> JobDone:
        await self.jobs.park(job, error=error)
        return JobDone(job.post_id, "parked", error)
