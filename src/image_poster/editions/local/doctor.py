"""`image-poster doctor`: a check of everything that the service depends on, which changes nothing;
and the repairs that its findings advise: `rebuild`, `failed --replay`, `--restore-quarantine`."""

import os
import shutil
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvloop

from image_poster.adapters.files.images import record_of
from image_poster.adapters.files.schema import POST_FOLDERS
from image_poster.adapters.images.selftest import SelfTest, self_test
from image_poster.adapters.sqlite.feed import count_wrong_times, greatest_time
from image_poster.adapters.sqlite.posts import files_of_ready_posts
from image_poster.adapters.sqlite.schema import VERSION
from image_poster.domain.ids import EARLIEST_MS
from image_poster.domain.images import RENDITIONS
from image_poster.editions import OperationFailedError, StartError
from image_poster.editions.local import data_folder, ownership
from image_poster.editions.local.container import Container, run_in_container
from image_poster.editions.local.maintenance import PostFailure, PostRetries, RebuildReport
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.snapshot import copy_if_read_only
from image_poster.ports.images import FileRecord
from image_poster.ports.posts import ParkedJob

_MIN_FREE_BYTES = 1_000_000_000
_MAX_BEHIND_SECONDS = 60
_FILES = ("original", *RENDITIONS)
_SHOWN = 5
_DELETION_MS = 60_000
_FULL = 0o700
# The permissions that `--renditions-group` gives to its group.
_ALLOWED = {".": 0o010, "renditions": 0o050}
_FOLDERS_OF_FOLDERS = (*POST_FOLDERS, "quarantine")


class Finding(NamedTuple):
    """A check of the doctor: its subject, its result, and a remark."""

    subject: str
    ok: bool
    remark: str


def _good(subject: str, remark: str) -> Finding:
    return Finding(subject, ok=True, remark=remark)


def _bad(subject: str, remark: str) -> Finding:
    return Finding(subject, ok=False, remark=remark)


def examine(settings: Settings, *, deep: bool) -> list[Finding]:
    """All findings; `deep` also reads every file, and compares its hash. Raises `StartError`."""
    data_dir = settings.data_dir
    ownership.act_as_owner(data_dir)
    ownership.require_program(data_dir)
    if not data_dir.is_dir():
        raise StartError(f"there is no folder {data_dir}: pass --data-dir, or run `serve` first.")
    folder, (server, is_served) = _folder(data_dir), _server(data_dir)
    with copy_if_read_only(data_dir) if folder.ok else nullcontext(None) as copy:
        database = _database(copy or data_folder.database_path(data_dir), is_own=folder.ok)
        findings = [
            folder,
            *([find_wrong_owners(data_dir)] if folder.ok else []),
            _disk(settings),
            server,
            database,
            *_image_work(uvloop.run(self_test())),
        ]
        # A damaged database is not opened: its content is unreliable, and opening it might write.
        if database.ok:
            contents = partial(_contents, deep=deep, is_served=is_served)
            try:
                findings += run_in_container(settings, contents, copy)
            except OSError as exc:
                remark = f"cannot be examined: {exc.strerror}: {exc.filename}"
                findings.append(_bad("images", remark))
        return findings


def _folder(data_dir: Path) -> Finding:
    try:
        is_own = data_folder.is_own_folder(data_dir)
        mark = data_folder.read_mark(data_dir) if is_own else None
    except StartError as exc:
        return _bad("folder", str(exc))
    if not is_own:
        remark = f"{data_dir} is empty, or no data folder of this service: pass --data-dir"
        return _bad("folder", remark)
    if mark is None:
        return _good(
            "folder",
            "it was created by an earlier version: the next start of `serve` gives it an id",
        )
    return _good("folder", f"its id is {mark.id}")


def find_wrong_owners(data_dir: Path) -> Finding:
    """Entries of the service that the folder's owner does not own or cannot use, or that others can
    read. Skips the files of posts: there may be millions."""
    owner = data_dir.stat().st_uid
    strangers, faults, count = False, list[str](), 0
    for path in _entries(data_dir):
        count += 1
        status = path.stat() if path == data_dir else path.lstat()  # the folder may be a link
        strangers = strangers or status.st_uid != owner
        fault = _wrong_permission(path.relative_to(data_dir), status, owner)
        if fault:
            faults.append(f"{path} {fault}")
    if not faults:
        return _good("owner", f"{ownership.user_name(owner)}, of {count:,} entries")
    remark = f"{len(faults):,} of {count:,} entries are wrong: " + ", ".join(faults[:_SHOWN])
    if strangers:
        name = ownership.user_name(owner).removeprefix("user ")
        remark += f"; as root: chown -R {name} {data_dir}"
    return _bad("owner", remark)


def _entries(data_dir: Path) -> Iterator[Path]:
    yield data_dir
    for path in sorted(data_dir.iterdir()):
        if path.name != data_folder.MARK and not data_folder.OWN_NAME.fullmatch(path.name):
            continue
        yield path
        if path.name in _FOLDERS_OF_FOLDERS and os.access(path, os.R_OK | os.X_OK):
            yield from (folder for folder in sorted(path.iterdir()) if folder.is_dir())


def _wrong_permission(path: Path, status: os.stat_result, owner: int) -> str:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != owner:
        return f"belongs to {ownership.user_name(status.st_uid)}"
    if stat.S_ISDIR(status.st_mode) and mode & _FULL != _FULL:
        return f"cannot be used by its owner (mode {mode:04o})"
    allowed = _ALLOWED.get(str(path), 0)
    if len(path.parts) <= 1 and mode & ownership.OTHERS & ~allowed:
        return f"is open to others (mode {mode:04o})"
    return ""


def _disk(settings: Settings) -> Finding:
    if ownership.is_read_only(settings.data_dir):
        remark = "read-only: `backup` and `export` can save its content, `serve` cannot start"
        return _bad("disk", remark)
    free = shutil.disk_usage(settings.data_dir).free
    remark = f"{free / 1e9:.1f} GB free"
    if free >= max(_MIN_FREE_BYTES, 3 * settings.disk_reserve):
        return _good("disk", remark)
    reserve = f"{settings.disk_reserve / 1e9:.2f} GB"
    return _bad("disk", f"{remark}; below {reserve} the service accepts deletions only")


def _server(data_dir: Path) -> tuple[Finding, bool]:
    """The finding, and whether a server runs."""
    try:
        with data_folder.lock_against_servers(data_dir):
            return _good("server", "no server uses this folder"), False
    except OperationFailedError:
        return _good("server", "a server uses this folder"), True
    except OSError as exc:
        return _bad("server", f"its lock cannot be read: {exc}"), False


def _database(path: Path, *, is_own: bool) -> Finding:
    if not (is_own and path.exists()):
        return _bad("database", "the folder has no database of this service")
    try:
        with closing(sqlite3.connect(path)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as exc:
        return _bad("database", str(exc))
    if verdict == "ok" and version != VERSION:
        return _bad(
            "database", f"its schema version is {version}, and this program needs {VERSION}"
        )
    return Finding("database", verdict == "ok", f"quick_check: {verdict}")


def _image_work(result: SelfTest) -> Iterator[Finding]:
    missing, confinement = result.unreadable, result.confinement
    remark = f"cannot read {', '.join(missing)}" if missing else "all formats can be read"
    yield Finding("formats", not missing, remark)
    if confinement is None:
        yield _bad("sandbox", "no image process could be started")
    else:
        yield Finding("sandbox", confinement.is_complete, str(confinement))


async def _contents(container: Container, *, deep: bool, is_served: bool) -> list[Finding]:
    waiting = await container.jobs.parked()
    posts = container.services.stores.posts
    orphans = [id_ for id_ in container.images.kept() if await posts.find(id_) is None]
    return [
        _clock(container),
        _times(container),
        Finding("failed", not waiting, f"{len(waiting)} dead letters"),
        _delayed_work(container),
        _deletions(container, is_served=is_served),
        _good("orphans", f"{len(orphans)} posts have files, but no row in the database"),
        await _quarantine(container),
        _images(container, deep=deep),
    ]


def _clock(container: Container) -> Finding:
    """Compare the wall clock with the greatest stored time."""
    now_ms = container.clock.now_ms()
    ahead = (greatest_time(container.database) - now_ms) / 1000
    if now_ms < EARLIEST_MS:
        return _bad("clock", "the clock is years behind")
    if ahead > _MAX_BEHIND_SECONDS:
        remark = (
            f"{ahead:,.0f} s behind the newest post or comment: it is wrong now, or was wrong then"
        )
        return _bad("clock", remark)
    return _good("clock", "not behind the newest post or comment")


def _times(container: Container) -> Finding:
    wrong = count_wrong_times(container.database, container.clock.now_ms())
    if not wrong:
        return _good("times", "all times are plausible")
    remark = f"{wrong:,} posts and comments have a time of 1970 or far in the future: run `rebuild`"
    return _bad("times", remark)


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
    if not failing:
        return _good("deletions", f"{len(rows)} pending")
    shown = ", ".join(failing[:_SHOWN])
    remark = f"{len(failing)} deletions fail: {shown}; the log of the server says why"
    return _bad("deletions", remark)


async def _quarantine(container: Container) -> Finding:
    files = list(container.images.in_quarantine())
    if not files:
        return _good("quarantine", "empty")
    remark = f"{len(files)} files, the oldest since {files[0].day}"
    post_ids = sorted({file.post_id for file in files})
    lacking = [id_ for id_ in post_ids if await container.sweeper.lacks_original(id_)]
    if lacking:
        remark += f"; {len(lacking)} posts lack these files: pass --restore-quarantine"
    remark += "".join(f"\n       {file.path}" for file in files[: 4 * _SHOWN])
    return Finding("quarantine", not lacking, remark)


def _images(container: Container, *, deep: bool) -> Finding:
    """Find missing files, and those that have changed since they were published."""
    faults, counts = list[str](), Counter[str]()
    for post_id, records in files_of_ready_posts(container.database):
        known = {record.name: record for record in records}
        for name in _FILES:
            path = container.images.path_of(post_id, name)
            fault = _wrong_content(path, name, known.get(name), deep=deep)
            if fault:
                faults.append(f"{path} {fault}")
        counts["unrecorded" if len(known) < len(_FILES) else "compared"] += 1
    remark = f"{counts['compared']:,} posts' {'sizes and hashes' if deep else 'sizes'} compared"
    if counts["unrecorded"]:
        remark += f"; {counts['unrecorded']:,} posts of an earlier version have no recorded sizes"
    if faults:
        remark += f"; {len(faults):,} files are damaged or missing: {', '.join(faults[:_SHOWN])}"
    return Finding("images", not faults, remark)


def _wrong_content(path: Path, name: str, expected: FileRecord | None, *, deep: bool) -> str:
    try:
        size = path.stat().st_size
        if expected is None:
            return ""
        if size != expected.size:
            return f"has {size:,} bytes instead of {expected.size:,}"
        return "has changed content" if deep and record_of(name, path) != expected else ""
    except FileNotFoundError:
        return "is missing"
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"


def rebuild(settings: Settings) -> RebuildReport:
    """Derive counts and latest comments anew."""
    return run_in_container(settings, lambda container: container.rebuilder.rebuild())


def parked(settings: Settings) -> list[ParkedJob]:
    """The dead letters of image work."""
    data_folder.enter_with_database(settings.data_dir)
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
