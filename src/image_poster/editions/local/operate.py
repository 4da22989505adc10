"""Operators' commands on a data folder, beside a running server or without one."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import uvloop

from image_poster.adapters.oidc import new_key, own_token
from image_poster.editions import StartError
from image_poster.editions.local import revocations
from image_poster.editions.local.container import Container, check_token_key, open_container
from image_poster.editions.local.data_folder import (
    database_path,
    is_read_only,
    replace_token_key,
    require_writable,
    token_key,
)
from image_poster.editions.local.failures import failures_as_sentences
from image_poster.editions.local.folder_check import enter_with_database
from image_poster.editions.local.maintenance import PostFailure, PostRetries, RebuildReport
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.snapshot import copy_database
from image_poster.ports.jobs import ParkedJob

Result = TypeVar("Result")

_DAY_SECONDS = 86_400
_LEAST_FREE_BYTES = 1_000_000_000


def rebuild(settings: Settings) -> RebuildReport:
    """Derive counts and latest comments anew."""
    return with_container(settings, lambda container: container.rebuilder.rebuild())


def parked(settings: Settings) -> list[ParkedJob]:
    """The dead letters of image work."""
    enter_with_database(settings.data_dir)
    with readable_database(settings.data_dir) as path:
        return with_container(settings, lambda container: container.jobs.parked(), path)


def replay(settings: Settings) -> tuple[list[str], list[PostFailure]]:
    """Make every dead letter due again; returns the ids of their posts, and the failures."""

    async def replay_all(container: Container) -> tuple[list[str], list[PostFailure]]:
        retries = PostRetries()
        waiting = [job.post_id for job in await container.jobs.parked()]
        replay_job = container.jobs.replay
        due = [post for post in waiting if await retries.run("replay", post, replay_job, post)]
        return due, retries.drain_failures()

    return with_container(settings, replay_all)


def token(settings: Settings, user: str, *, days: int, admin: bool) -> str:
    """A token of the service's own for `user`, valid for this number of days. Raises
    `StartError`."""
    enter_with_database(settings.data_dir)
    key = token_key(settings.data_dir, new_key)
    check_token_key(key)
    series = revocations.find_series(settings.data_dir, user)
    return own_token(key, user, seconds=days * _DAY_SECONDS, admin=admin, series=series)


def revoke_user(settings: Settings, user: str) -> None:
    """Revoke all of the service's own tokens of `user`, also in a running server. Raises
    `StartError`."""
    enter_with_database(settings.data_dir)
    revocations.revoke_user(settings.data_dir, user)


def revoke_tokens(settings: Settings) -> None:
    """Revoke all of the service's own tokens, also in a running server. Raises `StartError`."""
    enter_with_database(settings.data_dir)
    replace_token_key(settings.data_dir, new_key)


def restore_quarantine(settings: Settings) -> int:
    """Put back the files in quarantine whose posts exist; returns their number. Raises `StartError`
    if some failed, after the others are back."""

    async def put_back(container: Container) -> int:
        sweeper = container.sweeper
        count = await sweeper.put_back()
        if failures := sweeper.retries.drain_failures():
            raise StartError(
                f"{count:,} files were put back; {len(failures):,} posts failed, the first with: "
                f"{failures[0].error}. Mend that, and run it again."
            )
        return count

    return with_container(settings, put_back)


def with_container(
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


@contextmanager
def readable_database(data_dir: Path) -> Iterator[Path | None]:
    """The path of a copy of the database if the disk is read-only, deleted at exit; else None, for
    the database itself. Raises `StartError`."""
    path = database_path(data_dir)
    if not (path.is_file() and is_read_only(data_dir)):
        yield None
        return
    with TemporaryDirectory(prefix="image-poster-") as folder:
        copy = Path(folder) / path.name
        advice = "Set TMPDIR to a folder with enough space."
        with failures_as_sentences(f"the database {path} was not copied to {folder}", advice):
            copy_database(path, copy)
        yield copy
