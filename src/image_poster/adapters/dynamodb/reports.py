"""Users' reports in DynamoDB. A report is one transaction with the entry of the queue that counts
it."""

from collections.abc import Collection

import msgspec

from image_poster.adapters.dynamodb import database, entries, paging, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.idempotency import record_writes
from image_poster.adapters.dynamodb.standing import WriterCheck, accept_writer
from image_poster.domain.errors import CommentNotFoundError, PostNotFoundError
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.moderation import (
    Action,
    AlreadyReportedError,
    EntryKind,
    NewEntry,
    QueueEntry,
    Report,
    outcome_of,
)
from image_poster.domain.signing import Page
from image_poster.ports import Clock

REPORT, REPORTED = "REPORT#", "REPORTED#"


def report_key(reporter: str, report_id: str) -> database.Key:
    """The key of a user's report."""
    return database.Key(schema.user_partition(reporter), f"{REPORT}{report_id}")


def reported_key(reporter: str, post_id: str) -> database.Key:
    """The key of the fact that a user reported a post."""
    return database.Key(schema.user_partition(reporter), f"{REPORTED}{post_id}")


class StoredReport(msgspec.Struct, frozen=True):
    """A report as stored, and the id of its entry, by whose outcome it is closed."""

    report: Report
    entry: str

    @property
    def closed_key(self) -> database.Key:
        """The key of the entry's outcome."""
        return entries.closed_key(self.report.subject, self.entry)

    @property
    def reporter_key(self) -> database.Key:
        """The key of the item by which the reporter has one report in the entry."""
        return entries.reporter_key(self.report.subject, self.entry, self.report.reporter)


def stored_report_of(item: database.Item) -> StoredReport:
    """The report of an item of `report_key`."""
    return msgspec.json.decode(str(item["report"]), type=StoredReport)


class DynamoReportStore:
    """`ReportStore` in DynamoDB."""

    def __init__(
        self, table: BotoTable, clock: Clock, *, check_may_write: WriterCheck = accept_writer
    ) -> None:
        self._table = table
        self._clock = clock
        self._check_may_write = check_may_write

    async def check_unused(self, record: IdempotencyRecord | None) -> None:
        await record_writes(self._table, record, self._clock)

    @database.retried
    async def add(self, report: Report, record: IdempotencyRecord | None = None) -> None:
        recording = await record_writes(self._table, record, self._clock)
        await self._check_may_write(report.reporter)
        slot = await self._table.get(entries.entry_key(report.subject, EntryKind.REPORT))
        if slot is not None and entries.is_open(slot):
            entry = entries.entry_of(slot)
            await self._check_first(report, entry)
        else:
            new = NewEntry(report.id, EntryKind.REPORT, report.created_at)
            entry = entries.new_entry(new, report.subject)
        await self._check_exists(report)
        storing = entries.storing(entries.with_report(entry, report), slot)
        await self._table.transact([storing, *_report_writes(report, entry.id), *recording])

    async def _check_first(self, report: Report, entry: QueueEntry) -> None:
        """Raises `AlreadyReportedError` if the reporter has a report in this open entry."""
        key = entries.reporter_key(report.subject, entry.id, report.reporter)
        item = await self._table.get(key)
        if item is None:
            return
        former = await self._table.get(report_key(report.reporter, str(item["report"])))
        if former is not None:
            raise AlreadyReportedError(stored_report_of(former).report)

    async def _check_exists(self, report: Report) -> None:
        """Check that the post or comment was not deleted in the meantime: nothing would close its
        entry. Raises `PostNotFoundError` and `CommentNotFoundError`."""
        post = await self._table.get(schema.post_key(report.post_id))
        if post is None or schema.is_tombstone(post):
            raise PostNotFoundError
        if report.comment_id is None:
            return
        comment = await self._table.get(schema.comment_key(report.post_id, report.comment_id))
        if comment is None or "deleted_by" in comment:
            raise CommentNotFoundError

    async def page(self, reporter: str, *, limit: int, after: str | None) -> Page[Report, str]:
        query = database.Query(
            schema.user_partition(reporter),
            limit,
            before=paging.start_key(REPORT, after),
            prefix=REPORT,
        )
        page = await paging.item_page(self._table, query)
        stored = [stored_report_of(item) for item in page.items]
        keys = (report.closed_key for report in stored)
        closed = await entries.closing_actions(self._table, keys)
        reports = [_with_outcome(report, closed.get(report.closed_key)) for report in stored]
        return Page(reports, None if page.next is None else page.next.removeprefix(REPORT))

    async def reported_posts(self, reporter: str, post_ids: Collection[str]) -> frozenset[str]:
        keys = [reported_key(reporter, post_id) for post_id in dict.fromkeys(post_ids)]
        items = await self._table.get_many(keys, consistent=False) if keys else []
        return frozenset(str(item[database.SK]).removeprefix(REPORTED) for item in items)


def _report_writes(report: Report, entry_id: str) -> list[database.Write]:
    """The writes of a report, once for each reporter and entry."""
    once = (database.Lacks(database.PK),)
    document = msgspec.json.encode(StoredReport(report, entry_id)).decode()
    writes: list[database.Write] = [
        database.Update(report_key(report.reporter, report.id), put={"report": document}),
        database.Update(
            entries.reporter_key(report.subject, entry_id, report.reporter),
            put={"report": report.id},
            when=once,
        ),
    ]
    if report.comment_id is None:
        key = reported_key(report.reporter, report.post_id)
        writes.append(database.Update(key, put={"at": report.created_at}))
    return writes


def _with_outcome(stored: StoredReport, closed_by: Action | None) -> Report:
    if closed_by is None:
        return stored.report
    return msgspec.structs.replace(stored.report, outcome=outcome_of(closed_by))
