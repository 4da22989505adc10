"""Work that goes on beside the requests."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from image_poster.http import metrics
from image_poster.usecases.sweep import Sweep
from image_poster.usecases.work_jobs import WorkJobs

_JOB_POLL_SECONDS = 0.05
_DELETION_POLL_SECONDS = 1.0
_FAULT_PAUSE_SECONDS = 1.0

_log = structlog.get_logger()


async def forever(name: str, step: Callable[[], Awaitable[None]]) -> None:
    """Repeat a step; a fault is logged, and the next step comes after a pause."""
    while True:
        try:
            await step()
        except Exception:  # noqa: BLE001 - the loop must outlive whatever it was
            _log.exception("background work failed", work=name)
            await asyncio.sleep(_FAULT_PAUSE_SECONDS)


async def do_image_work(work: WorkJobs) -> None:
    """Do image work as it comes due, one picture after the other."""

    async def step() -> None:
        done = await work()
        if done is None:
            await asyncio.sleep(_JOB_POLL_SECONDS)
            return
        metrics.images.labels(done.outcome).inc()
        if done.error is not None:
            _log.error(
                "image work broke", post=done.post_id, outcome=done.outcome, error=done.error
            )

    await forever("image work", step)


async def finish_deletions(sweep: Sweep) -> None:
    """Remove what is left of deleted posts, soon after they were deleted."""

    async def step() -> None:
        await sweep.finish_deletions()
        await asyncio.sleep(_DELETION_POLL_SECONDS)

    await forever("finishing deletions", step)
