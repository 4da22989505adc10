"""Due image work: leased from a queue of posts (one machine), or started by an event (AWS)."""

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


class JobStarter(Protocol):
    """Starts the image work of one post, at least once, where there is no `JobQueue` (AWS)."""

    async def start(self, post_id: str) -> None:
        """Start the work; all pieces of the post's image must be there. Repeating it is
        harmless."""
        ...


class ReconciliationCursor(NamedTuple):
    """The state of a full reconciliation: its position (None: at rest), its start, and the end of
    its reservation (ms since 1970)."""

    after: str | None
    started_ms: int
    until_ms: int


class ReconciliationCursorStore(Protocol):
    """Stores the position of a full reconciliation, and lets only one run at a time."""

    async def read(self) -> ReconciliationCursor:
        """The last stored state; if there is none, that of a walk at rest that began at 0."""
        ...

    async def take(self, current: ReconciliationCursor, until_ms: int) -> bool:
        """Reserve the walk for this caller until `until_ms` (since 1970). False, with nothing
        changed, if the state is no longer `current`."""
        ...

    async def keep(self, state: ReconciliationCursor) -> None:
        """Store the state. Only the caller that reserved the walk may do this."""
        ...


class FailureCounter(Protocol):
    """Counts a post's image work failures that are the service's fault, where there is no
    `JobQueue` to count them."""

    async def note(self, post_id: str, error: str) -> int:
        """Count a failure; return the total. 0 if the post is gone."""
        ...

    async def clear(self, post_id: str) -> None:
        """Reset the count. A no-op if the post is gone."""
        ...
