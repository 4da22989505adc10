"""`image-poster doctor`: a check of everything that the service depends on, which changes
nothing."""

import fcntl
import shutil
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import uvloop

from image_poster.adapters.files.images import record_of
from image_poster.adapters.images.selftest import SelfTest, self_test
from image_poster.adapters.sqlite.posts import files_of_ready_posts
from image_poster.adapters.sqlite.rebuild import count_wrong_times, greatest_time
from image_poster.adapters.sqlite.schema import VERSION
from image_poster.domain.ids import EARLIEST_MS
from image_poster.domain.images import RENDITIONS
from image_poster.editions import StartError
from image_poster.editions.local.container import Container
from image_poster.editions.local.data_folder import database_path, is_read_only
from image_poster.editions.local.findings import Finding, find_wrong_owners
from image_poster.editions.local.folder_check import is_own_folder
from image_poster.editions.local.folder_mark import read_mark
from image_poster.editions.local.operate import readable_database, with_container
from image_poster.editions.local.ownership import act_as_owner, require_program
from image_poster.editions.local.settings import Settings
from image_poster.ports.images import FileRecord

_LEAST_FREE_BYTES = 1_000_000_000
_MAX_BEHIND_SECONDS = 60
_FILES = ("original", *RENDITIONS)
_SHOWN = 5
_DELETION_MS = 60_000
_RUNNING = "one is running here"


def examine(settings: Settings, *, deep: bool) -> list[Finding]:
    """All findings; `deep` also reads every file, and compares its hash. Raises `StartError`."""
    data_dir = settings.data_dir
    act_as_owner(data_dir)
    require_program(data_dir)
    if not data_dir.is_dir():
        raise StartError(f"there is no folder {data_dir}: pass --data-dir, or serve there first.")
    folder, server = _folder(data_dir), _server(data_dir)
    with readable_database(data_dir) if folder.well else nullcontext(None) as copy:
        database = _database(copy or database_path(data_dir), is_own=folder.well)
        contents = partial(_contents, deep=deep, is_served=server.remark == _RUNNING)
        return [
            folder,
            *([find_wrong_owners(data_dir)] if folder.well else []),
            _disk(settings),
            server,
            database,
            *_image_work(uvloop.run(self_test())),
            # What is in a damaged database would be guessed at, and opening it might write.
            *(_examine_contents(settings, contents, copy) if database.well else ()),
        ]


def _examine_contents(
    settings: Settings, contents: Callable[[Container], Awaitable[list[Finding]]], copy: Path | None
) -> list[Finding]:
    """The findings about the posts, or the error of the disk that hides them."""
    try:
        return with_container(settings, contents, copy)
    except OSError as exc:
        remark = f"they cannot be examined: {exc.strerror}: {exc.filename}"
        return [Finding("images", well=False, remark=remark)]


def _folder(data_dir: Path) -> Finding:
    try:
        is_own, mark = is_own_folder(data_dir), None
        if is_own:
            mark = read_mark(data_dir)
    except StartError as exc:
        return Finding("folder", well=False, remark=str(exc))
    if not is_own:
        remark = f"{data_dir} is empty, or no data folder of this service: pass --data-dir"
        return Finding("folder", well=False, remark=remark)
    if mark is None:
        remark = "of a former version: the next start of `serve` gives it an id"
        return Finding("folder", well=True, remark=remark)
    return Finding("folder", well=True, remark=f"its id is {mark.id}")


def _disk(settings: Settings) -> Finding:
    if is_read_only(settings.data_dir):
        remark = "read-only: `backup` and `export` can save what is there, `serve` cannot start"
        return Finding("disk", well=False, remark=remark)
    free = shutil.disk_usage(settings.data_dir).free
    least = max(_LEAST_FREE_BYTES, 3 * settings.disk_reserve)
    remark = f"{free / 1e9:.1f} GB free"
    if free < least:
        remark += f"; below {settings.disk_reserve / 1e9:.2f} GB only deletions are taken"
    return Finding("disk", free >= least, remark)


def _server(data_dir: Path) -> Finding:
    """Detect a running server by a shared lock, which writes nothing."""
    try:
        with (data_dir / "server.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Finding("server", well=True, remark=_RUNNING)
    except FileNotFoundError:
        pass
    except OSError as exc:
        return Finding("server", well=False, remark=f"its lock cannot be read: {exc}")
    return Finding("server", well=True, remark="none is running here")


def _database(path: Path, *, is_own: bool) -> Finding:
    if not (is_own and path.exists()):
        return Finding("database", well=False, remark="there is none of this service")
    try:
        with closing(sqlite3.connect(path)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as exc:
        return Finding("database", well=False, remark=str(exc))
    if verdict == "ok" and version != VERSION:
        remark = f"it is of version {version}, and this program needs {VERSION}"
        return Finding("database", well=False, remark=remark)
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
        yield Finding("sandbox", confinement.is_complete, str(confinement))


async def _contents(container: Container, *, deep: bool, is_served: bool) -> list[Finding]:
    waiting = await container.jobs.parked()
    return [
        _clock(container),
        _times(container),
        Finding("failed", not waiting, f"{len(waiting)} in the dead-letter place"),
        _delayed_work(container),
        _deletions(container, is_served=is_served),
        await _orphans(container),
        await _quarantine(container),
        _images(container, deep=deep),
    ]


def _clock(container: Container) -> Finding:
    """Compare the wall clock with the greatest stored time."""
    now_ms = container.clock.now_ms()
    ahead = (greatest_time(container.database) - now_ms) / 1000
    if now_ms < EARLIEST_MS:
        return Finding("clock", well=False, remark="it is years behind")
    if ahead > _MAX_BEHIND_SECONDS:
        remark = f"{ahead:,.0f} s behind the newest post or comment, now or when that was written"
        return Finding("clock", well=False, remark=remark)
    return Finding("clock", well=True, remark="not behind the newest post or comment")


def _times(container: Container) -> Finding:
    wrong = count_wrong_times(container.database, container.clock.now_ms())
    remark = "all are plausible"
    if wrong:
        remark = (
            f"{wrong:,} posts and comments have one of 1970 or far in the future: run `rebuild`"
        )
    return Finding("times", not wrong, remark)


def _delayed_work(container: Container) -> Finding:
    """List image work that is delayed by a failure."""
    rows = container.database.read(
        "SELECT id, error FROM posts WHERE status = 'processing' AND error IS NOT NULL ORDER BY id"
    )
    errors = "".join(f"\n       {post_id}: {error}" for post_id, error in rows[:_SHOWN])
    return Finding("image work", not rows, f"{len(rows)} posts wait after a failure{errors}")


def _deletions(container: Container, *, is_served: bool) -> Finding:
    """Count pending deletions. A deletion is failing if a running server has not finished it in
    time."""
    before_ms = container.clock.service_ms() - _DELETION_MS
    rows = container.database.read(
        "SELECT id, deleted_at < ? FROM tombstones WHERE pending = 1 ORDER BY id", before_ms
    )
    failing = [post_id for post_id, is_late in rows if is_late and is_served]
    remark = f"{len(rows)} not finished yet"
    if failing:
        shown = ", ".join(failing[:_SHOWN])
        remark = f"{len(failing)} deletions fail: {shown}; the log of the server says why"
    return Finding("deletions", not failing, remark)


async def _orphans(container: Container) -> Finding:
    posts = container.services.stores.posts
    found = [await posts.find(post_id) is None for post_id in container.images.kept()]
    return Finding("orphans", well=True, remark=f"{sum(found)} posts' files without a row")


async def _quarantine(container: Container) -> Finding:
    files = list(container.images.in_quarantine())
    if not files:
        return Finding("quarantine", well=True, remark="empty")
    remark = f"{len(files)} files, the oldest since {files[0].day}"
    asked = [
        post_id
        for post_id in sorted({file.post_id for file in files})
        if await container.sweeper.is_asked_for(post_id)
    ]
    if asked:
        remark += f"; {len(asked)} posts lack theirs: put them back by --restore-quarantine"
    remark += "".join(f"\n       {file.path}" for file in files[: 4 * _SHOWN])
    return Finding("quarantine", not asked, remark)


def _images(container: Container, *, deep: bool) -> Finding:
    """Find missing files, and those that have changed since they were published."""
    faults, found = list[str](), Counter[str]()
    for post_id, records in files_of_ready_posts(container.database):
        known = {record.name: record for record in records}
        for name in _FILES:
            path = container.images.path_of(post_id, name)
            fault = _fault(path, name, known.get(name), deep=deep)
            if fault:
                faults.append(f"{path} {fault}")
        found["unrecorded" if len(known) < len(_FILES) else "compared"] += 1
    return Finding("images", not faults, _told(faults, found, deep=deep))


def _fault(path: Path, name: str, expected: FileRecord | None, *, deep: bool) -> str:
    try:
        size = path.stat().st_size
        if expected is None:
            return ""
        if size != expected.size:
            return f"has {size:,} bytes instead of {expected.size:,}"
        return "has another content" if deep and record_of(name, path) != expected else ""
    except FileNotFoundError:
        return "is missing"
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"


def _told(faults: list[str], found: Counter[str], *, deep: bool) -> str:
    compared = "sizes and hashes" if deep else "sizes"
    remark = f"{found['compared']:,} posts' {compared} compared"
    if found["unrecorded"]:
        remark += f"; of {found['unrecorded']:,}, from an earlier version, none are known"
    if faults:
        remark += f"; {len(faults):,} files are damaged or missing: "
        remark += ", ".join(faults[:_SHOWN])
    return remark
