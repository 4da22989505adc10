"""Queries for background work and for the doctor, by status and by account; and the check that the
database accepts writes.

Statuses other than `ready` are rare, and have indexes. A query uses one only if it has the
condition of that index (https://www.sqlite.org/partialindex.html).
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator

import structlog

from image_poster.adapters.sqlite.database import Database
from image_poster.domain.errors import BusyError, NotReadyError, StorageFullError
from image_poster.domain.posts import WITHHELD, PostStatus
from image_poster.ports.images import FileRecord

_log = structlog.get_logger()

_PROBE_SECONDS = 1.0
_PROBE_TIMEOUT_SECONDS = 2.0
_LAST_PROBE = "SELECT 1 FROM probe WHERE at BETWEEN ? AND ?"
_POSTS_AT_A_TIME = 500
# A failed post may have renditions too: those of an image that was rejected.
_NOT_PUBLIC = (*WITHHELD, PostStatus.FAILED)
_WITH_RENDITIONS = (PostStatus.READY, *WITHHELD)


def _values(statuses: tuple[PostStatus, ...]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


def posts_not_public(database: Database) -> Iterator[list[str]]:
    """The ids of posts that may have renditions which are not public, in batches."""
    sql = (
        "SELECT id FROM posts INDEXED BY posts_unfinished WHERE status <> 'ready' "  # noqa: S608 - constants
        f"AND status IN ({_values(_NOT_PUBLIC)}) AND id > ? ORDER BY id LIMIT ?"
    )
    after = ""
    while rows := database.read(sql, after, _POSTS_AT_A_TIME):
        yield [post_id for (post_id,) in rows]
        after = rows[-1][0]


def files_of_posts(database: Database) -> Iterator[tuple[str, list[FileRecord]]]:
    """The posts with renditions by id, each with the records of its files. Posts of earlier
    versions have no records."""
    sql = (
        f"SELECT id FROM posts WHERE status IN ({_values(_WITH_RENDITIONS)}) "  # noqa: S608 - constants
        "AND id > ? ORDER BY id LIMIT ?"
    )
    after = ""
    while posts := database.read(sql, after, _POSTS_AT_A_TIME):
        for (post_id,) in posts:
            rows = database.read("SELECT name, size, sha256 FROM files WHERE post_id = ?", post_id)
            yield post_id, [FileRecord(*row) for row in rows]
        after = posts[-1][0]


def accounts_in_deletion(database: Database) -> list[tuple[str, int]]:
    """The users whose accounts are being deleted, and since when (service clock, in ms since
    1970)."""
    rows = database.read("SELECT user, deleting_since FROM accounts WHERE deleting = 1")
    return [(user, since_ms) for user, since_ms in rows]


def count_open_entries(database: Database) -> tuple[int, str]:
    """The number of open entries of the moderation queue, and the time of the oldest (RFC 3339),
    empty if there is none."""
    sql = "SELECT count(*), coalesce(min(since), '') FROM entries WHERE closed_by IS NULL"
    [(count, oldest)] = database.read(sql)
    return count, oldest


class WriteProbe:
    """Checks that the database accepts writes: by the free space on the disk, and by writing a row.

    All processes together write that row at most once a second. All callers within that second
    share the result.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._task: asyncio.Task[None] | None = None
        self._began_at = 0.0

    async def check(self) -> None:
        """Raises `NotReadyError` if the database does not accept writes."""
        try:
            self._database.check_free_space(0)
            async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
                await asyncio.shield(self._shared_check())
        except StorageFullError as exc:
            raise NotReadyError(
                "The disk has too little free space. Delete other files on it."
            ) from exc
        except TimeoutError as exc:
            raise NotReadyError(
                "The database is too busy for a write. Try again in a moment."
            ) from exc
        except (BusyError, sqlite3.Error, OSError) as exc:
            raise NotReadyError from exc

    def _shared_check(self) -> asyncio.Task[None]:
        """The check that runs, or that began within the last second; else a new one."""
        now = time.monotonic()
        is_old = now - self._began_at >= _PROBE_SECONDS
        if self._task is None or (self._task.done() and is_old):
            self._began_at = now
            self._task = asyncio.create_task(self._write())
            self._task.add_done_callback(_log_failure)
        return self._task

    async def _write(self) -> None:
        now = time.time_ns() // 1_000_000
        since = now - int(_PROBE_SECONDS * 1000)
        if self._database.read_one(_LAST_PROBE, since, now) is None:
            await self._database.write(
                lambda connection: connection.execute("UPDATE probe SET at = ?", (now,))
            )


def _log_failure(task: asyncio.Task[None]) -> None:
    """Log a failed check. This also retrieves its error if no caller waits for it any more."""
    if not task.cancelled() and task.exception() is not None:
        _log.error("the database cannot be written to", error=str(task.exception()))
