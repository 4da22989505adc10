"""Take image work as it comes due, retry what broke, and park what keeps breaking."""

from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.errors import ImagePosterError
from image_poster.domain.images import ImageWorkFailedError
from image_poster.ports.jobs import Job, JobQueue
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
    (which is harmless, and a waste).

    Work that failed `max_failures` times is parked. Leases that ended with the process (somebody
    pulled the plug, again) are no fault of the picture's, up to `max_leases` of them.
    """

    jobs: JobQueue
    publish_image: PublishImage
    lease_ms: int
    max_failures: int = 3
    max_leases: int = 20

    async def __call__(self) -> JobDone | None:
        """Do one job that is due; None if there was none."""
        job = await self.jobs.lease(self.lease_ms)
        if job is None:
            return None
        if job.leases > self.max_leases:
            return await self._park(job, f"the process ended during {job.leases - 1} attempts")
        try:
            status = await self.publish_image(job.post_id)
        except (ImageWorkFailedError, ImagePosterError) as exc:
            return await self._broke(job, f"{type(exc).__name__}: {exc}")
        return JobDone(job.post_id, status or "deleted")

    async def _broke(self, job: Job, error: str) -> JobDone:
        if job.failures + 1 >= self.max_failures:
            return await self._park(job, error)
        await self.jobs.retry(job, delay_ms=_FIRST_RETRY_MS << job.failures, error=error)
        return JobDone(job.post_id, "retried", error)

    async def _park(self, job: Job, error: str) -> JobDone:
        await self.jobs.park(job, error=error)
        return JobDone(job.post_id, "parked", error)
