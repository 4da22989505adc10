"""Operators' commands on a data folder, beside a running server or without one."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import uvloop

from image_poster.editions import StartError
from image_poster.editions.local.container import Container, open_container
from image_poster.editions.local.data_folder import enter_with_database
from image_poster.editions.local.ownership import require_writable
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.snapshot import copy_if_read_only
from image_poster.ports.jobs import ParkedJob
from image_poster.services.maintenance import RebuildReport
from image_poster.services.retries import PostFailure, PostRetries

Result = TypeVar("Result")


def rebuild(settings: Settings) -> RebuildReport:
    """Derive counts and latest comments anew."""
    return run_in_container(settings, lambda container: container.rebuilder.rebuild())


def parked(settings: Settings) -> list[ParkedJob]:
    """The dead letters of image work."""
    enter_with_database(settings.data_dir)
    with copy_if_read_only(settings.data_dir) as path:
        return run_in_container(settings, lambda container: container.jobs.parked(), path)


def replay(settings: Settings) -> tuple[list[str], list[PostFailure]]:
    """Make every dead letter due again; returns the ids of their posts, and the failures."""

    async def replay_all(container: Container) -> tuple[list[str], list[PostFailure]]:
        retries = PostRetries()
        waiting = [job.post_id for job in await container.jobs.parked()]
        replay_job = container.jobs.replay
        due = [post for post in waiting if await retries.run("replay", post, replay_job, post)]
        return due, retries.drain_failures()

    return run_in_container(settings, replay_all)


def restore_quarantine(settings: Settings) -> int:
    """Put back the files in quarantine whose posts exist; returns their number. Raises `StartError`
    if some failed, after the others are back."""

    async def put_back(container: Container) -> int:
        sweeper = container.sweeper
        count = await sweeper.put_back()
        if failures := sweeper.retries.drain_failures():
            raise StartError(
                f"{count:,} files were put back; {len(failures):,} posts failed, the first with: "
                f"{failures[0].error}. Repair the cause, and run the command again."
            )
        return count

    return run_in_container(settings, put_back)


def run_in_container(
    settings: Settings,
    action: Callable[[Container], Awaitable[Result]],
    database: Path | None = None,
) -> Result:
    """Return the result of `action`, beside a running server or without one. `database` is a copy
    to use where the disk is read-only. Raises `StartError`."""

    async def run() -> Result:
        async with open_container(settings, database=database) as container:
            return await action(container)

    enter_with_database(settings.data_dir)
    if database is None:
        require_writable(settings.data_dir)
    return uvloop.run(run())
