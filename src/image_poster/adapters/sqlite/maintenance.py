"""Queries for background work and for the doctor, the rebuild of derived values, and the check that
the database accepts writes.

Statuses other than `ready` are rare, and have indexes. A query uses one only if it has the
condition of that index (https://www.sqlite.org/partialindex.html). Computed anew are:

- counts and latest comments, by `rebuild` and for an import
- times that a wrong wall clock stored; ids never change
- the greatest stored time, for the service clock
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec
import structlog

from image_poster.adapters.sqlite.comments import RankedPost, newest_comments, store_count
from image_poster.adapters.sqlite.database import Database
from image_poster.domain.comments import Comment, decode_comment, encode_comment
from image_poster.domain.errors import BusyError, NotReadyError, StorageFullError
from image_poster.domain.feed import (
    EPOCH_MS,
    CurrentRank,
    epoch_of,
)
from image_poster.domain.ids import corrected_time, milliseconds_of, plausible_times
from image_poster.domain.posts import (
    WITHHELD,
    Post,
    PostStatus,
    decode_post,
    encode_post,
)
from image_poster.ports import Clock
from image_poster.ports.feed import Drift, RebuiltBatch, TimeRepair
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


# The ids of comments have no index of their own: the feed's epoch covers them.
_GREATEST = (
    "SELECT coalesce((SELECT max(id) FROM posts), ''), "
    "coalesce((SELECT max(id) FROM tombstones), ''), "
    "coalesce((SELECT max(id) FROM decisions), ''), "
    "coalesce((SELECT max(id) FROM entries), ''), epoch FROM feed_clock"
)
# A comment changes the rank of its post, so a past rank ends in the comment's epoch.
_GREATEST_OF_COMMENTS = (
    "SELECT coalesce(max((SELECT max(id) FROM comments WHERE post_id = past_ranks.id)), '') "
    "FROM past_ranks WHERE until = (SELECT epoch FROM feed_clock)"
)
_COVER = "UPDATE feed_clock SET epoch = max(epoch, ?)"
_LAST_CHANGE = (
    "SELECT coalesce((SELECT max(id) FROM comments WHERE post_id = ?1), ''), since FROM posts "
    "WHERE id = ?1"
)
_IS_WRONG = (
    "(json_extract(CAST({0} AS TEXT), '$.created_at') NOT BETWEEN ?1 AND ?2 "
    "OR json_extract(CAST({0} AS TEXT), '$.edited_at') NOT BETWEEN ?1 AND ?2)"
)
_WRONG_POSTS = f"SELECT head FROM posts WHERE {_IS_WRONG.format('head')}"  # noqa: S608 - constants
_WRONG_COMMENTS = f"SELECT doc FROM comments WHERE {_IS_WRONG.format('doc')}"  # noqa: S608 - constants
_IDS_AFTER = "SELECT id FROM posts WHERE id > ? ORDER BY id LIMIT ?"
_POSTS_AFTER = (
    "SELECT id, creator, total_comments, since, latest FROM posts WHERE id > ? ORDER BY id LIMIT ?"
)
_POST_BY_ID = "SELECT id, creator, total_comments, since, latest FROM posts WHERE id = ?"
_ADD_COMMENT = (
    "INSERT OR IGNORE INTO comments (post_id, id, creator, doc) SELECT ?1, ?2, ?3, ?4 "
    "WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE id = ?2) "
    "AND NOT EXISTS (SELECT 1 FROM accounts WHERE user = ?3 AND deleting = 1)"
)
Document = TypeVar("Document", Post, Comment)


class SqliteFeedRebuilder:
    """`FeedRebuilder` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        def derive(connection: sqlite3.Connection) -> RebuiltBatch:
            now_ms, service_ms = self._clock.now_ms(), self._clock.service_ms()
            batch = (after or "", limit)
            ids = [post_id for (post_id,) in connection.execute(_IDS_AFTER, batch).fetchall()]
            repairs = [_repair_times(connection, post_id, now_ms) for post_id in ids]
            rows = connection.execute(_POSTS_AFTER, batch).fetchall()
            drifts = [_derive_counts(connection, row, service_ms) for row in rows]
            return RebuiltBatch(
                len(rows),
                [drift for drift in drifts if drift is not None],
                rows[-1][0] if rows else None,
                repaired=[repair for repair in repairs if repair is not None],
            )

        return await self._database.write(derive)


class SqliteCommentImporter:
    """Adds comments to posts in any state, with exact counts."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, post_id: str, comments: Sequence[Comment]) -> int:
        """Add the comments that are new and were not deleted, nor their author's account, in one
        transaction. Returns their number, 0 if the post does not exist. Raises
        `StorageFullError`."""
        rows = [
            (post_id, comment.id, comment.creator, encode_comment(comment)) for comment in comments
        ]
        self._database.check_free_space(sum(len(row[3]) for row in rows))

        def insert(connection: sqlite3.Connection) -> int:
            post = connection.execute(_POST_BY_ID, (post_id,)).fetchone()
            if post is None:
                return 0
            added = connection.executemany(_ADD_COMMENT, rows).rowcount
            _cover_times(connection, post_id)
            _derive_counts(connection, post, self._clock.service_ms())
            return added

        return await self._database.write(insert)


def greatest_time(database: Database) -> int:
    """The time (ms since 1970) of the greatest stored epoch and id, except ids of comments in that
    epoch; 0 for an empty database."""
    *ids, epoch = database.read(_GREATEST)[0]
    return max(_time_of(max(ids)), int(epoch) * EPOCH_MS)


def greatest_time_of_comments(database: Database) -> int:
    """The time (ms since 1970) of the greatest id of a comment in the greatest stored epoch; 0
    without one. Reads an entry for each post with a comment in this epoch."""
    return _time_of(database.read(_GREATEST_OF_COMMENTS)[0][0])


def _time_of(id_: str) -> int:
    return milliseconds_of(id_) if id_ else 0


def count_wrong_times(database: Database, now_ms: int) -> int:
    """Count posts and comments with a time that is not plausible. Reads all of them."""
    sql = f"SELECT count(*) FROM ({_WRONG_POSTS} UNION ALL {_WRONG_COMMENTS})"  # noqa: S608 - constants
    return int(database.read(sql, *plausible_times(now_ms))[0][0])


def _cover_times(connection: sqlite3.Connection, post_id: str) -> bool:
    """Raise the feed's epoch beyond that of a post's newest comment and rank if it is smaller.
    Returns True if it was."""
    newest, since = connection.execute(_LAST_CHANGE, (post_id,)).fetchone()
    (before,) = connection.execute("SELECT epoch FROM feed_clock").fetchone()
    epoch = max(since, epoch_of(_time_of(newest)))
    if epoch > before:
        connection.execute(_COVER, (epoch + 1,))
    return bool(epoch > before)


def _repair_times(connection: sqlite3.Connection, post_id: str, now_ms: int) -> TimeRepair | None:
    """Correct the times of a post and of its comments (`corrected_time`), and the feed's epoch.
    Returns None if nothing was wrong."""
    was_ahead = _cover_times(connection, post_id)
    times = plausible_times(now_ms)
    posts = connection.execute(f"{_WRONG_POSTS} AND id = ?3", (*times, post_id)).fetchall()
    for post in (decode_post(head) for (head,) in posts):
        fixed = encode_post(_corrected(post, now_ms))
        connection.execute("UPDATE posts SET head = ? WHERE id = ?", (fixed, post_id))
    comments = connection.execute(f"{_WRONG_COMMENTS} AND post_id = ?3", (*times, post_id))
    wrong = [decode_comment(doc) for (doc,) in comments.fetchall()]
    connection.executemany(
        "UPDATE comments SET doc = ? WHERE post_id = ? AND id = ?",
        [(encode_comment(_corrected(comment, now_ms)), post_id, comment.id) for comment in wrong],
    )
    if wrong:
        latest = newest_comments(connection, post_id)
        connection.execute("UPDATE posts SET latest = ? WHERE id = ?", (latest, post_id))
    documents = len(posts) + len(wrong)
    return TimeRepair(post_id, documents, was_ahead) if documents or was_ahead else None


def _corrected(document: Document, now_ms: int) -> Document:
    edited_at = document.edited_at
    return msgspec.structs.replace(
        document,
        created_at=corrected_time(document.created_at, milliseconds_of(document.id), now_ms),
        edited_at=None if edited_at is None else corrected_time(edited_at, now_ms, now_ms),
    )


def _derive_counts(
    connection: sqlite3.Connection, row: tuple[str, str, int, int, bytes], now_ms: int
) -> Drift | None:
    """Derive a post's count and latest comments from its comments. `row` has its id, creator,
    count, the epoch of that count, and latest comments. Returns the drift, or None."""
    post, latest = RankedPost(row[0], row[1], CurrentRank(*row[2:4])), row[4]
    (counted,) = connection.execute(
        "SELECT count(*) FROM comments WHERE post_id = ?", (post.id,)
    ).fetchone()
    newest = newest_comments(connection, post.id)
    if (counted, newest) == (post.rank.total, latest):
        return None
    store_count(connection, post, counted, newest, now_ms)
    return Drift(post.id, post.rank.total, counted)
