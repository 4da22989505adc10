"""Due image work, leased from a queue of posts (one machine). On AWS, events start it."""

from typing import NamedTuple, Protocol


class Job(NamedTuple):
    """The image work of one post: the number of leases (with this one), and the number of failures.
    The other leases ended because their holder's process ended."""

    post_id: str
    leases: int
    failures: int


class ParkedJob(NamedTuple):
    """A job that was given up, and its last error."""

    post_id: str
    leases: int
    error: str


class JobQueue(Protocol):
    """Hands out posts that are `processing`, each to one worker at a time, at least once (one
    machine)."""

    async def lease(self, lease_ms: int) -> Job | None:
        """Lease the next job to this caller for `lease_ms`; None if there is none. When the lease
        expires with the post still `processing`, the job is due again.

        Users alternate (round-robin); of one user's jobs, the oldest comes first.
        """
        ...

    async def retry(self, job: Job, *, delay_ms: int, error: str) -> None:
        """Count a failure and make the job due again after `delay_ms`. A no-op if the post left
        `processing`."""
        ...

    async def postpone(self, job: Job, *, delay_ms: int, error: str) -> None:
        """Make the job due again after `delay_ms`, as if it had not been leased. A no-op if the
        post left `processing`."""
        ...

    async def park(self, job: Job, *, error: str) -> None:
        """Give the job up: the post fails with `PROCESSING_FAILED`, and an operator can list and
        replay the job. A no-op if the post left `processing`."""
        ...

    async def parked(self) -> list[ParkedJob]:
        """The parked jobs, oldest post first."""
        ...

    async def replay(self, post_id: str) -> bool:
        """Make a parked job due again, as if it were new; False if it is not parked."""
        ...
