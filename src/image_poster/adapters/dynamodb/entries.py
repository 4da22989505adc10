"""Entries of the moderation queue in DynamoDB, and the log of decisions, which close them.

A subject has one item for each kind of entry, in the partition of its post or user. The item is in
the queue while the entry is open. A closed entry leaves the action that closed it in an item of
its own: the outcome of its reports and its appeal.

The log has all decisions, and those about each user's content and account. For each subject, it
has the newest decision and the one in force.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from image_poster.adapters.dynamodb import boto, database, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.domain.moderation import (
    DISMISSED,
    LATEST_REPORTS,
    Action,
    Appeal,
    AppealedDecision,
    Decision,
    EntryKind,
    NewEntry,
    QueueEntry,
    Report,
    Subject,
)

QUEUE = "QUEUE"
_ENTRY = "ENTRY#"
_ENTRIES_AT_A_TIME = 100


def subject_partition(subject: Subject) -> str:
    """The partition of a user, or of a post with its comments."""
    return f"SUBJECT#{Subject(post_id=subject.post_id, user=subject.user).key}"


def entry_key(subject: Subject, kind: EntryKind) -> database.Key:
    """The key of the subject's entry of this kind."""
    return database.Key(subject_partition(subject), f"{_entries_prefix(subject)}{kind}")


def closed_key(subject: Subject, entry_id: str) -> database.Key:
    """The key of the outcome of a closed entry."""
    return database.Key(subject_partition(subject), f"CLOSED#{entry_id}")


def reporter_key(subject: Subject, entry_id: str, reporter: str) -> database.Key:
    """The key of the item by which a reporter has one report in an entry."""
    digest = hashlib.sha256(reporter.encode()).hexdigest()
    return database.Key(subject_partition(subject), f"REPORTER#{entry_id}#{digest}")


def _entries_prefix(subject: Subject) -> str:
    return f"{_ENTRY}{subject.comment_id or ''}#"


def is_open(item: database.Item | None) -> bool:
    """True if the item has an open entry."""
    return item is not None and "due" in item


def entry_of(item: database.Item) -> QueueEntry:
    """The open entry of an item."""
    return msgspec.json.decode(str(item["entry"]), type=QueueEntry)


def new_entry(entry: NewEntry, subject: Subject) -> QueueEntry:
    """The entry of this subject, without reports."""
    return QueueEntry(entry.id, entry.kind, subject, entry.since, match=entry.match)


def with_report(entry: QueueEntry, report: Report) -> QueueEntry:
    """The entry with one report more."""
    reasons = {**entry.reasons, report.reason: entry.reasons.get(report.reason, 0) + 1}
    latest = (report, *entry.latest)[:LATEST_REPORTS]
    return entry._replace(reports=entry.reports + 1, reasons=reasons, latest=latest)


def storing(entry: QueueEntry, item: database.Item | None) -> database.Update:
    """The write of an open entry over the `item` of its key (None: there is none), which must be
    unchanged."""
    return database.Update(
        entry_key(entry.subject, entry.kind),
        put={
            "id": entry.id,
            "entry": msgspec.json.encode(entry).decode(),
            "due": QUEUE,
            "due_at": entry.id,
        },
        add={"version": 1},
        when=(database.unchanged(item),),
    )


def closing(item: database.Item, action: Action) -> tuple[database.Update, ...]:
    """The writes that close an open entry by this action; its item must be unchanged."""
    entry = entry_of(item)
    return (
        database.Update(
            schema.key_of(item),
            add={"version": 1},
            remove=("entry", "due", "due_at"),
            when=(database.unchanged(item),),
        ),
        database.Update(closed_key(entry.subject, entry.id), put={"action": str(action)}),
    )


async def open_entries(table: BotoTable, subject: Subject) -> list[database.Item]:
    """The items of the subject's own open entries."""
    return await _open_items(table, subject, _entries_prefix(subject))


async def _open_items(table: BotoTable, subject: Subject, prefix: str) -> list[database.Item]:
    query = database.Query(subject_partition(subject), _ENTRIES_AT_A_TIME, prefix=prefix)
    items = [item async for item in boto.all_items(table, query)]
    return [item for item in items if is_open(item)]


@database.retried
async def close_deleted(table: BotoTable, subject: Subject) -> None:
    """Close the open entries of a deleted comment, or of a deleted post and its comments, but for
    appeals, which need a decision. Each is one transaction; repeating it completes a round that a
    crash interrupted."""
    prefix = _entries_prefix(subject) if subject.comment_id else _ENTRY
    for item in await _open_items(table, subject, prefix):
        if entry_of(item).kind is not EntryKind.APPEAL:
            await table.transact(closing(item, Action.DELETE))


async def closing_actions(
    table: BotoTable, closed: Iterable[database.Key]
) -> dict[database.Key, Action]:
    """The actions that closed entries, by `closed_key`; those of open entries are missing."""
    keys = list(dict.fromkeys(closed))
    items = await table.get_many(keys) if keys else []
    return {schema.key_of(item): Action(str(item["action"])) for item in items}


@database.retried
async def forget_report(table: BotoTable, report: Report) -> None:
    """Remove the reporter's name and text from the open entry of a report."""
    slot = await table.get(entry_key(report.subject, EntryKind.REPORT))
    if slot is None or not is_open(slot):
        return
    entry = entry_of(slot)
    latest = tuple(_anonymous(former, report.id) for former in entry.latest)
    if latest != entry.latest:
        await table.write(storing(entry._replace(latest=latest), slot))


def _anonymous(report: Report, report_id: str) -> Report:
    if report.id != report_id:
        return report
    return msgspec.structs.replace(report, reporter="", text="")


@database.retried
async def forget_appeal(table: BotoTable, subject: Subject, entry_id: str) -> None:
    """Remove the text of the appeal from an open entry."""
    slot = await table.get(entry_key(subject, EntryKind.APPEAL))
    if slot is None or not is_open(slot):
        return
    entry = entry_of(slot)
    if entry.id == entry_id and entry.appeal is not None and entry.appeal.text:
        appeal = msgspec.structs.replace(entry.appeal, text="")
        await table.write(storing(entry._replace(appeal=appeal), slot))


LOG = "DECISIONS"
OWNED = "DECISION#"


def logged_key(decision_id: str) -> database.Key:
    """The key of a decision in the log."""
    return database.Key(LOG, decision_id)


def owned_key(owner: str, decision_id: str) -> database.Key:
    """The key of a decision about this user's content or account, with its appeal."""
    return database.Key(schema.user_partition(owner), f"{OWNED}{decision_id}")


def state_key(subject: Subject) -> database.Key:
    """The key of the newest decisions about a subject."""
    return database.Key(subject_partition(subject), f"STATE#{subject.comment_id or ''}")


def decision_of(document: database.Value) -> Decision:
    """Decode a stored decision."""
    return msgspec.json.decode(str(document), type=Decision)


class SubjectDecisions(NamedTuple):
    """The newest decision about a subject, and the newest that set its state; `item` is the stored
    one."""

    item: database.Item | None
    last: Decision | None = None
    in_force: Decision | None = None


async def find_decisions(table: BotoTable, subject: Subject) -> SubjectDecisions:
    """The decisions about a subject."""
    item = await table.get(state_key(subject))
    if item is None:
        return SubjectDecisions(None)
    in_force = decision_of(item["in_force"]) if "in_force" in item else None
    return SubjectDecisions(item, decision_of(item["last"]), in_force)


def logging(decision: Decision, former: SubjectDecisions) -> list[database.Write]:
    """The writes that add a decision with its owner to the log, if no other one about its subject
    has come since `former`."""
    document = msgspec.json.encode(decision).decode()
    keys = [logged_key(decision.id)]
    if decision.owner:
        keys.append(owned_key(decision.owner, decision.id))
    put = {"last": document, **({"in_force": document} if decision.sets_state else {})}
    state = database.Update(
        state_key(decision.subject),
        put=put,
        add={"version": 1},
        when=(database.unchanged(former.item),),
    )
    once = (database.Lacks(database.PK),)
    return [state, *(database.Update(key, put={"doc": document}, when=once) for key in keys)]


async def logging_of(table: BotoTable, decision: Decision | None) -> list[database.Write]:
    """The writes that log a decision; none without one."""
    if decision is None:
        return []
    return logging(decision, await find_decisions(table, decision.subject))


async def appealed(table: BotoTable, owned: Iterable[database.Item]) -> list[AppealedDecision]:
    """The decisions of these items of `owned_key`, each with its appeal."""
    items = list(owned)
    keys = {index: _appeal_key(item) for index, item in enumerate(items) if "appealed_at" in item}
    closed = await closing_actions(table, keys.values())
    return [
        AppealedDecision(
            decision_of(item["doc"]),
            _appeal_of(item, closed.get(keys[index])) if index in keys else None,
        )
        for index, item in enumerate(items)
    ]


def _appeal_key(item: database.Item) -> database.Key:
    return closed_key(decision_of(item["doc"]).subject, str(item["appeal_entry"]))


def _appeal_of(item: database.Item, closed_by: Action | None) -> Appeal:
    """The appeal: dismissed only by an action of that name, for any other decision grants it."""
    outcome = DISMISSED if closed_by is Action.DISMISS else None
    return Appeal(str(item.get("appeal_text", "")), str(item["appealed_at"]), outcome)
