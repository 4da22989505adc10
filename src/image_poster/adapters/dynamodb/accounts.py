"""Data of one user in DynamoDB: the account's standing, reports, and the deletion of all data.

An index lists a user's comments, and two list the posts. The other data of a user is in the user's
partition. A report is one transaction with the entry of the queue that counts it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress

import msgspec

from image_poster.adapters.dynamodb import boto, database, entries, schema, standing
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.comments import DynamoCommentStore
from image_poster.adapters.dynamodb.idempotency import delete_texts, record_writes, used_mark
from image_poster.adapters.dynamodb.standing import (
    DELETING,
    DELETIONS,
    WriterCheck,
    accept_writer,
    beginning,
    standing_of,
)
from image_poster.domain.accounts import Standing
from image_poster.domain.errors import CommentNotFoundError, PostNotFoundError
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.moderation import (
    Action,
    AlreadyReportedError,
    EntryKind,
    NewEntry,
    QueueEntry,
    Report,
    Subject,
    outcome_of,
)
from image_poster.domain.signing import Page
from image_poster.ports import Clock

_READ_AT_A_TIME = 100
# Other processes accept the user's writes until they read the standing anew, and indexes are a
# moment behind.
_SETTLED_MS = 2 * 60 * 1000
_DELETION = (DELETING, "begun_ms", "due", "due_at", "blocks", schema.STREAM_COUNTED)
_THE_SERVICE = Identity("", admin=True)


class DynamoAccountStore:
    """`AccountStore` in DynamoDB. `standing` replaces the read of a user's standing by a cache.
    `changed` is called with the name of a user whose deletion this process began."""

    def __init__(
        self,
        table: BotoTable,
        clock: Clock,
        comments: DynamoCommentStore,
        *,
        standing: Callable[[str], Awaitable[Standing]] | None = None,
        changed: Callable[[str], object] = bool,
    ) -> None:
        self._table = table
        self._clock = clock
        self._comments = comments
        self._standing = standing
        self._changed = changed

    async def standing(self, user: str) -> Standing:
        if self._standing is not None:
            return await self._standing(user)
        return standing_of(await self._table.get(schema.account_key(user)))

    @database.retried
    async def begin_deletion(self, user: str) -> None:
        with suppress(database.ConditionFailedError):
            await self._table.write(beginning(user, self._clock.now_ms()))
        self._changed(user)

    async def deleting(self) -> list[str]:
        names = ("due", "due_at")
        query = database.Query(DELETIONS, _READ_AT_A_TIME, on="due", names=names)
        users = [str(item["due_at"]) async for item in boto.all_items(self._table, query)]
        # The index is a moment behind.
        return [user for user in users if (await self._account(user)).is_deleting]

    async def has_settled(self, user: str) -> bool:
        """Return True if no process accepts a write of this user since then, so that data which is
        gone now does not come back."""
        item = await self._table.get(schema.account_key(user)) or {}
        return self._clock.now_ms() - int(item.get("begun_ms", 0)) >= _SETTLED_MS

    async def posts_of(self, user: str, limit: int) -> list[str]:
        partition, post_ids = schema.creator_key(user), list[str]()
        for index, name in (("unfinished", "unfinished"), ("creator_new", "creator_feed")):
            query = database.Query(partition, _READ_AT_A_TIME, on=index, names=(name, "id"))
            async for item in self._live_items(query):
                post_ids.append(str(item["id"]))
                if len(post_ids) == limit:
                    return post_ids
        return list(dict.fromkeys(post_ids))

    async def comments_of(self, user: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        page = await boto.item_page(self._table, _comments_query(user, limit, after))
        live = await self._live(page.items)
        posts = await self._posts_of(live)
        newest = sorted(live, key=schema.comment_id_of, reverse=True)
        shown = [schema.doc_of(item) for item in newest if schema.post_key_of(item) in posts]
        return Page(shown, page.next)

    async def erase_comments(self, user: str, limit: int) -> bool:
        await asyncio.sleep(0)  # here a caller with little time may stop
        erased = 0
        async for item in self._live_items(_comments_query(user, _READ_AT_A_TIME, None)):
            await self._erase_comment(item)
            erased += 1
            if erased == limit:
                break
        return erased > 0

    async def erase_records(self, user: str, limit: int) -> bool:
        await asyncio.sleep(0)  # as in `erase_comments`
        erased = 0
        query = database.Query(schema.user_partition(user), _READ_AT_A_TIME)
        async for item in boto.all_items(self._table, query):
            erased += await self._erase_record(user, item)
            if erased == limit:
                break
        return erased > 0

    @database.retried
    async def finish_deletion(self, user: str) -> None:
        key = schema.account_key(user)
        try:
            await self._table.write(database.Delete(key, (database.Lacks("ban_decision"),)))
        except database.ConditionFailedError:
            await self._table.write(database.Update(key, remove=_DELETION))

    async def _account(self, user: str) -> Standing:
        return standing_of(await self._table.get(schema.account_key(user)))

    async def _live_items(self, query: database.Query) -> AsyncIterator[database.Item]:
        """The items of an index's query that are not deleted, by their current state."""
        start: str | None = None
        while True:
            page = await self._table.query(query.starting_at(start))
            for item in await self._live(page.items):
                yield item
            if page.next is None:
                return
            start = page.next

    async def _live(self, indexed: list[database.Item]) -> list[database.Item]:
        keys = [schema.key_of(item) for item in indexed]
        items = await self._table.get_many(keys) if keys else []
        return [item for item in items if "deleted_by" not in item]

    async def _posts_of(self, comments: list[database.Item]) -> set[database.Key]:
        """The keys of those posts of the comments that were not deleted."""
        keys = list({schema.post_key_of(item) for item in comments})
        items = await self._table.get_many(keys) if keys else []
        return {schema.key_of(item) for item in items if not schema.is_tombstone(item)}

    @database.retried
    async def _erase_comment(self, item: database.Item) -> None:
        key = schema.key_of(item)
        post_id, comment_id = schema.post_id_of(key), schema.comment_id_of(item)
        with suppress(database.ConditionFailedError):  # another process deleted it
            await delete_texts(
                self._table, self._comments.removing(post_id, comment_id, _THE_SERVICE)
            )
        await entries.close_deleted(self._table, Subject(post_id, comment_id))

    async def _erase_record(self, user: str, item: database.Item) -> bool:
        """Erase a record of the user's partition; False if it stays."""
        sk = str(item[database.SK])
        if sk.startswith(entries.OWNED):
            return await self._erase_appeal(item)
        if sk == schema.ACCOUNT:
            return False
        if sk.startswith(schema.RECORD):
            await self._table.write(used_mark(item))
        elif sk.startswith(standing.BLOCK):
            await self._table.write(standing.unpairing(user, sk.removeprefix(standing.BLOCK)))
        elif sk.startswith(REPORT):
            await self._erase_report(item)
        else:
            assert sk.startswith(REPORTED) or sk == schema.usage_key(user).sk, sk  # noqa: S101
        await self._table.delete_many([schema.key_of(item)])
        return True

    async def _erase_report(self, item: database.Item) -> None:
        stored = stored_report_of(item)
        await entries.forget_report(self._table, stored.report)
        await self._table.delete_many([stored.reporter_key])

    async def _erase_appeal(self, item: database.Item) -> bool:
        """Erase the text of an appeal; False if the decision has none."""
        if "appeal_text" not in item:
            return False
        subject = entries.decision_of(item["doc"]).subject
        await entries.forget_appeal(self._table, subject, str(item["appeal_entry"]))
        erasing = database.Update(schema.key_of(item), remove=("appeal_text",))
        await self._table.write(erasing)
        return True


def _comments_query(user: str, limit: int, after: str | None) -> database.Query:
    partition, names = schema.author_partition(user), ("author", "id")
    return database.Query(partition, limit, after, "author", names)


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
            before=boto.start_key(REPORT, after),
            prefix=REPORT,
        )
        page = await boto.item_page(self._table, query)
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
