"""Reports by users in SQLite."""

import sqlite3
from collections.abc import Collection
from typing import Any

from image_poster.adapters.sqlite.comments import find_comment
from image_poster.adapters.sqlite.database import GREATEST_ID, Database
from image_poster.adapters.sqlite.entries import count_report, decoded_outcome, open_entry
from image_poster.adapters.sqlite.events import add_event
from image_poster.adapters.sqlite.idempotency import check_record_unused, check_unused, store_record
from image_poster.adapters.sqlite.posts import find_post
from image_poster.adapters.sqlite.standing import check_standing
from image_poster.domain.errors import CommentNotFoundError, PostNotFoundError
from image_poster.domain.events import Event, EventType
from image_poster.domain.idempotency import IdempotencyRecord
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
