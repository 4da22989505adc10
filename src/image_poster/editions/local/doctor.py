"""`image-poster doctor`: a check of everything that the service depends on, which changes nothing;
and the repairs that its findings advise: `rebuild`, `failed --replay`, `--restore-quarantine`."""

from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import uvloop

from image_poster.adapters.files.images import record_of
from image_poster.adapters.sqlite.maintenance import (
    accounts_in_deletion,
    count_open_entries,
    count_wrong_times,
    files_of_posts,
    greatest_time,
    posts_not_public,
)
from image_poster.domain.ids import EARLIEST_MS
from image_poster.domain.images import RENDITIONS
from image_poster.domain.limits import escape_controls
from image_poster.editions import StartError
from image_poster.editions.local import data_folder, ownership
from image_poster.editions.local.checks import (
    Finding,
    bad,
    check_database,
    check_disk,
    check_folder,
    check_image_work,
    check_server,
    find_wrong_owners,
    good,
    self_test,
)
from image_poster.editions.local.container import Container, run_in_container
from image_poster.editions.local.maintenance import PostFailure, PostRetries, RebuildReport
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.snapshot import copy_if_read_only
from image_poster.ports.images import FileRecord
from image_poster.ports.posts import ParkedJob

_MAX_BEHIND_SECONDS = 60
_FILES = ("original", *RENDITIONS)
_SHOWN = 5
_DELETION_MS = 60_000
_ACCOUNT_MS = 3_600_000


def examine(settings: Settings, *, deep: bool) -> list[Finding]:
    """All findings; `deep` also reads every file, and compares its hash. Raises `StartError`."""
    data_dir = settings.data_dir
    ownership.act_as_owner(data_dir)
    ownership.require_program(data_dir)
    if not data_dir.is_dir():
        raise StartError(f"there is no folder {data_dir}: pass --data-dir, or run `serve` first.")
    folder, (server, is_served) = check_folder(data_dir), check_server(data_dir)
    with copy_if_read_only(data_dir) if folder.ok else nullcontext(None) as copy:
        database = check_database(copy or data_folder.database_path(data_dir), is_own=folder.ok)
        findings = [
            folder,
            *([find_wrong_owners(data_dir)] if folder.ok else []),
            check_disk(settings),
            server,
            database,
            *check_image_work(uvloop.run(self_test())),
        ]
        # A damaged database is not opened: its content is unreliable, and opening it might write.
        if database.ok:
            contents = partial(_contents, deep=deep, is_served=is_served)
            try:
                findings += run_in_container(settings, contents, copy)
            except OSError as exc:
                remark = f"cannot be examined: {exc.strerror}: {exc.filename}"
                findings.append(bad("images", remark))
        return findings


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
        _accounts(container, is_served=is_served),
        _queue(container),
        await _webhooks(container),
        good("orphans", f"{len(orphans)} posts have files, but no row in the database"),
        await _quarantine(container),
        _images(container, deep=deep),
        await _withheld(container),
    ]


async def _webhooks(container: Container) -> Finding:
    """The delivery of events."""
    reports = await container.outbox.reports()
    waiting = sum(report.waiting for report in reports)
    parked = sum(report.parked for report in reports)
    dropped = sum(report.dropped for report in reports)
    off = sum(report.is_configured and report.endpoint.is_off for report in reports)
    remark = f"{len(reports)} endpoints, {waiting:,} events wait"
    if parked or dropped or off:
        remark += (
            f", {parked:,} are parked, {dropped:,} were deleted because too many waited, {off} "
            "endpoints are off: see `image-poster webhooks`"
        )
        return bad("webhooks", remark)
    return good("webhooks", remark)


def _clock(container: Container) -> Finding:
    """Compare the wall clock with the greatest stored time."""
    now_ms = container.clock.now_ms()
    ahead = (greatest_time(container.database) - now_ms) / 1000
    if now_ms < EARLIEST_MS:
        return bad("clock", "the clock is years behind")
    if ahead > _MAX_BEHIND_SECONDS:
        remark = (
            f"{ahead:,.0f} s behind the newest post or comment: it is wrong now, or was wrong then"
        )
        return bad("clock", remark)
    return good("clock", "not behind the newest post or comment")


def _times(container: Container) -> Finding:
    wrong = count_wrong_times(container.database, container.clock.now_ms())
    if not wrong:
        return good("times", "all times are plausible")
    remark = f"{wrong:,} posts and comments have a time of 1970 or far in the future: run `rebuild`"
    return bad("times", remark)


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
        return good("deletions", f"{len(rows)} pending")
    shown = ", ".join(failing[:_SHOWN])
    remark = f"{len(failing)} deletions fail: {shown}; the log of the server says why"
    return bad("deletions", remark)


def _accounts(container: Container, *, is_served: bool) -> Finding:
    """Count deletions of accounts. One is failing if a running server has not completed it in
    time."""
    before_ms = container.clock.service_ms() - _ACCOUNT_MS
    accounts = accounts_in_deletion(container.database)
    late = [user for user, since_ms in accounts if since_ms < before_ms and is_served]
    if not late:
        return good("accounts", f"{len(accounts)} deletions of accounts pending")
    shown = ", ".join(escape_controls(user) for user in late[:_SHOWN])
    remark = f"{len(late)} deletions of accounts run for over an hour: {shown}; the log of the "
    return bad("accounts", remark + "server says why")


def _queue(container: Container) -> Finding:
    """Count the open entries of the moderation queue."""
    count, oldest = count_open_entries(container.database)
    remark = f"{count:,} open entries in the queue"
    return good("moderation", f"{remark}, the oldest since {oldest}" if count else remark)


async def _withheld(container: Container) -> Finding:
    """Find renditions in the public place whose posts are not public."""
    public = [
        post_id
        for post_ids in posts_not_public(container.database)
        for post_id in await container.images.public_among(post_ids)
    ]
    if not public:
        return good("withheld", "no image of a hidden post is in renditions/")
    shown = ", ".join(public[:_SHOWN])
    remark = f"images of {len(public):,} hidden posts are in renditions/: {shown}; a start of "
    return bad("withheld", remark + "`serve` moves them")


async def _quarantine(container: Container) -> Finding:
    files = list(container.images.in_quarantine())
    if not files:
        return good("quarantine", "empty")
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
    for post_id, records in files_of_posts(container.database):
        known = {record.name: record for record in records}
        for name in _FILES:
            path = container.images.path_of(post_id, name)
            if not path.exists():  # a decision may just have moved it
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
