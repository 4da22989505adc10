"""Data of one user in SQLite: blocks, reports, the account's standing, and the deletion of all of
it. The checks of a standing within other transactions are in `standing`."""

import sqlite3
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import msgspec

from image_poster.adapters.sqlite.comments import delete_comments, find_comment
from image_poster.adapters.sqlite.database import GREATEST_ID, Database
from image_poster.adapters.sqlite.entries import count_report, decoded_outcome, open_entry
from image_poster.adapters.sqlite.events import add_event
from image_poster.adapters.sqlite.idempotency import (
    check_record_unused,
    check_unused,
    replace_by_used_keys,
    store_record,
)
from image_poster.adapters.sqlite.posts import find_post
from image_poster.adapters.sqlite.standing import (
    FIND_STANDING,
    begin_deletion,
    check_standing,
    decoded_standing,
    end_deletion,
)
from image_poster.domain.accounts import MAX_BLOCKS, Block, Standing
from image_poster.domain.errors import (
    BusyError,
    CommentNotFoundError,
    PostNotFoundError,
    TooManyBlocksError,
)
from image_poster.domain.events import Event, EventType
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.limits import take_page
from image_poster.domain.moderation import (
    LATEST_REPORTS,
    AlreadyReportedError,
    EntryKind,
    NewEntry,
    Reason,
    Report,
    Subject,
)
from image_poster.domain.signing import Page
from image_poster.ports import Clock

# The deleter in the tombstones of a deleted account: the account's own name must not stay there.
_NOBODY = Identity("")
_POSTS_OF = "SELECT id FROM posts WHERE creator = ?1 AND status {} 'ready' LIMIT ?2"
_COMMENTS_OF = (
    "SELECT id, doc FROM comments WHERE creator = ? AND id < ? "
    "AND EXISTS (SELECT 1 FROM posts WHERE posts.id = post_id) ORDER BY id DESC LIMIT ?"
)
_ANY_COMMENTS = "SELECT post_id, id FROM comments WHERE creator = ? ORDER BY id LIMIT ?"
_decode_users = msgspec.json.Decoder(list[str]).decode
# Each statement changes at most ?2 rows of the user ?1.
_ERASURES = (
    # An appeal of an account that is gone needs no decision.
    (
        "UPDATE entries SET closed_by = 'delete' WHERE closed_by IS NULL AND id IN "
        "(SELECT entry_id FROM appeals WHERE owner = ?1 AND text <> '' LIMIT ?2)"
    ),
    (
        "UPDATE appeals SET text = '' WHERE decision_id IN "
        "(SELECT decision_id FROM appeals WHERE owner = ?1 AND text <> '' LIMIT ?2)"
    ),
    (
        "UPDATE reports SET reporter = '', text = '' WHERE id IN "
        "(SELECT id FROM reports WHERE reporter = ?1 LIMIT ?2)"
    ),
    (
        "DELETE FROM blocks WHERE user = ?1 AND blocked IN "
        "(SELECT blocked FROM blocks WHERE user = ?1 LIMIT ?2)"
    ),
    (
        "UPDATE tombstones SET user = '' WHERE id IN "
        "(SELECT id FROM tombstones WHERE user = ?1 LIMIT ?2)"
    ),
    "DELETE FROM bookings WHERE post_id IN (SELECT post_id FROM bookings WHERE user = ?1 LIMIT ?2)",
    (
        "DELETE FROM past_ranks WHERE (total_comments, id, until) IN "
        "(SELECT total_comments, id, until FROM past_ranks WHERE creator = ?1 LIMIT ?2)"
    ),
    "DELETE FROM daily_bytes WHERE user = ?1 AND ?2 > 0",
)


class SqliteBlockStore:
    """`BlockStore` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, user: str, block: Block) -> None:
        self._database.check_free_space(0)

        def insert(connection: sqlite3.Connection) -> None:
            check_standing(connection, user, self._clock.now_ms(), while_banned=True)
            _check_may_block(connection, user, block.user)
            connection.execute(
                "INSERT OR IGNORE INTO blocks (user, blocked, created_at) VALUES (?, ?, ?)",
                (user, *block),
            )

        await self._database.write(insert)

    async def remove(self, user: str, blocked: str) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM blocks WHERE user = ? AND blocked = ?", (user, blocked)
            )
        )

    async def page(self, user: str, *, limit: int, after: str | None) -> Page[Block, str]:
        rows = self._database.read(
            "SELECT blocked, created_at FROM blocks WHERE user = ? AND blocked > ? "
            "ORDER BY blocked LIMIT ?",
            user,
            after or "",
            limit + 1,
        )
        blocks = [Block(*row) for row in rows[:limit]]
        return Page(blocks, blocks[-1].user if len(rows) > limit else None)

    async def blocked_by(self, user: str) -> frozenset[str]:
        # One row takes half the time of a hundred.
        sql = "SELECT json_group_array(blocked) FROM blocks WHERE user = ?"
        return frozenset(_decode_users(self._database.read(sql, user)[0][0]))


def _check_may_block(connection: sqlite3.Connection, user: str, blocked: str) -> None:
    """Raises `TooManyBlocksError`, unless the user blocks `blocked` already."""
    number, is_blocked = connection.execute(
        "SELECT count(*), coalesce(max(blocked = ?), 0) FROM blocks WHERE user = ?",
        (blocked, user),
    ).fetchone()
    if number >= MAX_BLOCKS and not is_blocked:
        raise TooManyBlocksError


class SqliteAccountStore:
    """`AccountStore` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def standing(self, user: str) -> Standing:
        return decoded_standing(self._database.read_one(FIND_STANDING, user))

    async def begin_deletion(self, user: str) -> None:
        now = self._clock.service_ms()
        await self._database.write(lambda connection: begin_deletion(connection, user, now))

    async def deleting(self) -> list[str]:
        rows = self._database.read("SELECT user FROM accounts WHERE deleting = 1 ORDER BY user")
        return [user for (user,) in rows]

    async def posts_of(self, user: str, limit: int) -> list[str]:
        ready = self._database.read(_POSTS_OF.format("="), user, limit)
        others = self._database.read(_POSTS_OF.format("<>"), user, limit)
        return [post_id for (post_id,) in (ready + others)[:limit]]

    async def comments_of(self, user: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        rows = self._database.read(_COMMENTS_OF, user, after or GREATEST_ID, limit + 1)
        shown, more = take_page(rows, limit, lambda row: len(row[1]))
        return Page([doc for _, doc in shown], shown[-1][0] if more else None)

    async def erase_comments(self, user: str, limit: int) -> bool:
        def erase(connection: sqlite3.Connection) -> bool:
            keys = connection.execute(_ANY_COMMENTS, (user, limit)).fetchall()
            delete_comments(connection, keys, _NOBODY, self._clock.service_ms())
            return bool(keys)

        return await self._database.write(erase)

    async def erase_records(self, user: str, limit: int) -> bool:
        def erase(connection: sqlite3.Connection) -> bool:
            erased = replace_by_used_keys(connection, user, limit)
            for statement in _ERASURES:
                erased += connection.execute(statement, (user, limit - erased)).rowcount
            return erased > 0

        return await self._database.write(erase)

    async def finish_deletion(self, user: str) -> None:
        """As the port says; the file of the database is rewritten, unless it is large
        (`Database.rewrite`). Raises `BusyError`, with the deletion unfinished, while a reader of
        another process needs the log, or soon after another rewrite; and `StorageFullError`."""
        await self._database.truncate_log()
        # `secure_delete` clears rows and free pages, but not the copies that SQLite leaves in
        # unused parts of pages when it moves rows between them.
        await self._database.rewrite()
        now = self._clock.service_ms()
        await self._database.write(lambda connection: end_deletion(connection, user, now))
        with suppress(BusyError):  # this has only the name, in a row that is gone
            await self._database.truncate_log()


_REPORT_COLUMNS = "reports.id, reporter, post_id, comment_id, reason, text, created_at, closed_by"
_REPORTS = (
    f"SELECT {_REPORT_COLUMNS} FROM reports "  # noqa: S608 - constants
    "JOIN entries ON entries.id = entry_id"
)
_REPORTS_OF_USER = (
    f"{_REPORTS} WHERE reporter = ? AND reports.id < ? ORDER BY reports.id DESC LIMIT ?"
)
LATEST_REPORTS_OF = f"{_REPORTS} WHERE entry_id = ? ORDER BY reports.id DESC LIMIT {LATEST_REPORTS}"
_OPEN_REPORT = (
    f"{_REPORTS} WHERE reporter = ? AND post_id = ? AND comment_id IS ? AND closed_by IS NULL"
)
_ADD_REPORT = (
    "INSERT INTO reports (id, reporter, post_id, comment_id, reason, text, created_at, entry_id) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


class SqliteReportStore:
    """`ReportStore` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, report: Report, record: IdempotencyRecord | None = None) -> None:
        now = self._clock.service_ms()
        self._database.check_free_space(len(report.text))

        def insert(connection: sqlite3.Connection) -> None:
            check_unused(connection, record)
            check_standing(connection, report.reporter, self._clock.now_ms())
            _check_not_reported(connection, report)
            _check_exists(connection, report.subject)
            store_record(connection, record, now)
            _add_report(connection, report)

        await self._database.write(insert)

    async def check_unused(self, record: IdempotencyRecord | None) -> None:
        await check_record_unused(self._database, record)

    async def page(self, reporter: str, *, limit: int, after: str | None) -> Page[Report, str]:
        rows = self._database.read(_REPORTS_OF_USER, reporter, after or GREATEST_ID, limit + 1)
        reports = [decoded_report(row) for row in rows[:limit]]
        return Page(reports, reports[-1].id if len(rows) > limit else None)

    async def reported_posts(self, reporter: str, post_ids: Collection[str]) -> frozenset[str]:
        if not post_ids:
            return frozenset()
        marks = ", ".join("?" * len(post_ids))
        rows = self._database.read(
            "SELECT post_id FROM reports WHERE reporter = ? "  # noqa: S608 - marks
            f"AND post_id IN ({marks}) AND comment_id IS NULL",
            reporter,
            *post_ids,
        )
        return frozenset(post_id for (post_id,) in rows)


def _check_not_reported(connection: sqlite3.Connection, report: Report) -> None:
    """Raises `AlreadyReportedError` if the reporter has an open report of this subject."""
    key = (report.reporter, report.post_id, report.comment_id)
    row = connection.execute(_OPEN_REPORT, key).fetchone()
    if row is not None:
        raise AlreadyReportedError(decoded_report(row))


def _check_exists(connection: sqlite3.Connection, subject: Subject) -> None:
    """Check that the post or comment was not deleted in the meantime: nothing would close its
    entry. Raises `PostNotFoundError` and `CommentNotFoundError`."""
    post_id = subject.post_id or ""
    if find_post(connection, post_id) is None:
        raise PostNotFoundError
    if subject.comment_id and find_comment(connection, post_id, subject.comment_id) is None:
        raise CommentNotFoundError


def _add_report(connection: sqlite3.Connection, report: Report) -> None:
    entry = NewEntry(report.id, EntryKind.REPORT, report.created_at)
    entry_id = open_entry(connection, report.subject, entry)
    connection.execute(
        _ADD_REPORT,
        (
            *(report.id, report.reporter, report.post_id, report.comment_id),
            *(report.reason, report.text, report.created_at, entry_id),
        ),
    )
    count_report(connection, entry_id, report.reason)
    ids = report.post_id, report.comment_id, report.id
    add_event(connection, Event(EventType.REPORT_CREATED, *ids))


def decoded_report(row: tuple[Any, ...]) -> Report:
    """The report in a row of `_REPORTS`."""
    id_, reporter, post_id, comment_id, reason, text, created_at, closed_by = row
    outcome = decoded_outcome(closed_by)
    return Report(id_, reporter, post_id, comment_id, Reason(reason), text, created_at, outcome)
