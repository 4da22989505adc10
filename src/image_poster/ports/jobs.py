"""Image work that is due: taken from a queue of posts (one machine), or started by an event
(AWS)."""

from typing import NamedTuple, Protocol


class Job(NamedTuple):
    """The image work of one post: how often it was leased (this time included), and how many of
    those times it failed. The rest ended with whoever held the lease."""

    post_id: str
    leases: int
    failures: int


class ParkedJob(NamedTuple):
    """Work that was given up, and the last error that it ended with."""

    post_id: str
    leases: int
    error: str


class JobQueue(Protocol):
    """Hands out posts that are `processing`, each to one worker at a time, at least once."""

    async def lease(self, lease_ms: int) -> Job | None:
        """The next job, for this caller alone for `lease_ms`; None if there is none. Users take
        turns, and of one user's jobs the one that has waited longest is next. When the lease runs
        out with the post still `processing`, it is due again."""
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
        """Give the job up: the post fails with `PROCESSING_FAILED`, and the job can be seen and
        replayed. A no-op if the post left `processing`."""
        ...

    async def parked(self) -> list[ParkedJob]:
        """The jobs that were given up, oldest post first."""
        ...

    async def replay(self, post_id: str) -> bool:
        """Make a parked job due again, as if it were new; False if it is not parked."""
        ...


class JobStarter(Protocol):
    """Starts the image work of one post, at least once, where no queue of ours hands it out."""

    async def start(self, post_id: str) -> None:
        """All pieces of the post's image are there. Repeating it is harmless."""
        ...


class ReconciliationCursor(NamedTuple):
    """Where a walk over everything is (None: at rest), when it began, and until when it is
    somebody's (ms since 1970)."""

    after: str | None
    started_ms: int
    until_ms: int


class ReconciliationCursorStore(Protocol):
    """Remembers the walk, and that one walks at a time."""

    async def read(self) -> ReconciliationCursor:
        """The state as it was kept last; that of a walk at rest that began at 0, if there never
        was one."""
        ...

    async def take(self, seen: ReconciliationCursor, until_ms: int) -> bool:
        """Reserve the walk for this caller until `until_ms` (since 1970). False, with nothing
        changed, if the state is no longer the one that was `seen`."""
        ...

    async def keep(self, state: ReconciliationCursor) -> None:
        """Store the state. Only the caller that has taken the walk may do this."""
        ...


class FailureCounter(Protocol):
    """Counts how often the image work of a post failed through our fault, where something else than
    a queue of ours delivers it again."""

    async def note(self, post_id: str, error: str) -> int:
        """Count a failure; how many there are now. 0 if the post is gone."""
        ...

    async def clear(self, post_id: str) -> None:
        """Begin anew. A no-op if the post is gone."""
        ...
