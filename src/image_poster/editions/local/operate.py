"""What operators do on a data folder, beside a running server or without one."""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import uvloop

from image_poster.adapters.oidc import new_key, own_token
from image_poster.adapters.vips.selftest import SelfTest, self_test
from image_poster.domain.errors import ImageNotFoundError
from image_poster.domain.images import RENDITIONS
from image_poster.editions import StartError
from image_poster.editions.local.container import Container, check_token_key, open_container
from image_poster.editions.local.data_folder import (
    database_path,
    exclusively,
    prepare,
    replace_token_key,
    token_key,
)
from image_poster.editions.local.settings import Settings
from image_poster.ports.jobs import ParkedJob
from image_poster.services.maintenance import Rebuilt

Result = TypeVar("Result")

_DAY_SECONDS = 86_400
_LEAST_FREE_BYTES = 1_000_000_000


class Finding(NamedTuple):
    """One thing that the doctor looked at, whether it is well, and what there is to say."""

    subject: str
    well: bool
    remark: str


@dataclass(frozen=True)
class Leftovers:
    """Files without a post, and ready posts without a file."""

    orphans: int
    incomplete: list[str]


def rebuild(settings: Settings) -> Rebuilt:
    """Derive counts and latest comments anew."""
    return _with_container(settings, lambda container: container.rebuilder.rebuild())


def parked(settings: Settings) -> list[ParkedJob]:
    """The dead-letter place."""
    return _with_container(settings, lambda container: container.jobs.parked())


def replay(settings: Settings) -> list[str]:
    """Make every parked job due again; the ids of their posts."""

    async def replay_all(container: Container) -> list[str]:
        waiting = await container.jobs.parked()
        return [job.post_id for job in waiting if await container.jobs.replay(job.post_id)]

    return _with_container(settings, replay_all)


def token(settings: Settings, user: str, *, days: int, admin: bool) -> str:
    """A token of the service's own for `user`, good for so many days. Raises `StartError`."""
    _require_database(settings)
    key = token_key(settings.data_dir, new_key)
    check_token_key(key)
    return own_token(key, user, seconds=days * _DAY_SECONDS, admin=admin)


def revoke_tokens(settings: Settings) -> None:
    """No token of the service's own that was made so far holds any longer, also while it serves.
    Raises `StartError`."""
    _require_database(settings)
    replace_token_key(settings.data_dir, new_key)


def examine(settings: Settings) -> list[Finding]:
    """Look at everything the service stands on, changing nothing."""
    prepare(settings.data_dir)
    database = _database(database_path(settings.data_dir))
    return [
        _disk(settings.data_dir),
        _server(settings.data_dir),
        database,
        *_image_work(uvloop.run(self_test())),
        # What is in a damaged database would be guessed at, and opening it might write.
        *(_with_container(settings, _contents) if database.well else ()),
    ]


def _with_container(settings: Settings, action: Callable[[Container], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with open_container(settings) as container:
            return await action(container)

    _require_database(settings)
    return uvloop.run(run())


def _require_database(settings: Settings) -> None:
    """Nothing is made in a folder that was named by mistake. Raises `StartError`."""
    if not database_path(settings.data_dir).exists():
        raise StartError(
            f"there is no database in {settings.data_dir}: pass --data-dir, or serve there first."
        )


def _disk(data_dir: Path) -> Finding:
    free = shutil.disk_usage(data_dir).free
    return Finding("disk", free >= _LEAST_FREE_BYTES, f"{free / 1e9:.1f} GB free")


def _server(data_dir: Path) -> Finding:
    try:
        with exclusively(data_dir):
            return Finding("server", well=True, remark="none is running here")
    except StartError:
        return Finding("server", well=True, remark="one is running here")


def _database(path: Path) -> Finding:
    if not path.exists():
        return Finding("database", well=False, remark=f"there is none at {path}")
    connection = sqlite3.connect(path)
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as exc:
        return Finding("database", well=False, remark=str(exc))
    finally:
        connection.close()
    return Finding("database", verdict == "ok", f"quick_check: {verdict}")


def _image_work(tested: SelfTest) -> Iterator[Finding]:
    missing, confinement = tested.unreadable, tested.confinement
    if missing:
        yield Finding("formats", well=False, remark="cannot read " + ", ".join(missing))
    else:
        yield Finding("formats", well=True, remark="all are read")
    if confinement is None:
        yield Finding("sandbox", well=False, remark="no image process could be started")
    else:
        yield Finding("sandbox", confinement.is_tight, str(confinement))


async def _contents(container: Container) -> list[Finding]:
    waiting = await container.jobs.parked()
    deletions = await container.tombstones.pending(1000)
    left = await _leftovers(container)
    return [
        Finding("failed", not waiting, f"{len(waiting)} in the dead-letter place"),
        Finding("deletions", well=True, remark=f"{len(deletions)} not finished yet"),
        Finding("orphans", well=True, remark=f"{left.orphans} posts' files without a row"),
        await _quarantine(container),
        Finding("images", not left.incomplete, _missing(left.incomplete)),
    ]


def _missing(post_ids: list[str]) -> str:
    return f"missing of {', '.join(post_ids[:5])}" if post_ids else "none is missing"


async def _quarantine(container: Container) -> Finding:
    files = list(container.images.in_quarantine())
    if not files:
        return Finding("quarantine", well=True, remark="empty")
    remark = f"{len(files)} files, the oldest since {files[0].day}"
    found = [await container.sweeper.is_asked_for(one) for one in {file.post_id for file in files}]
    if any(found):
        remark += f"; {sum(found)} posts lack theirs: put them back (docs/operations.md)"
    return Finding("quarantine", not any(found), remark)


async def _leftovers(container: Container) -> Leftovers:
    orphans = 0
    for post_id in container.images.kept():
        orphans += await container.services.stores.posts.find(post_id) is None
    incomplete = [
        post_id async for post_id in _ready_posts(container) if await _lacks(container, post_id)
    ]
    return Leftovers(orphans, incomplete)


async def _ready_posts(container: Container) -> AsyncIterator[str]:
    for (post_id,) in container.database.read("SELECT id FROM posts WHERE status = 'ready'"):
        yield post_id


async def _lacks(container: Container, post_id: str) -> bool:
    try:
        for name in RENDITIONS:
            (await container.images.open_rendition(post_id, name)).close()
        (await container.images.open_original(post_id)).close()
    except ImageNotFoundError:
        return True
    return False
