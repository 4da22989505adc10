"""The moderation queue's entries and the log of decisions, as parts of other transactions.

An entry is open while `closed_by` is NULL. Then that is the action that closed it; the outcome of
its reports and appeals derives from it. Functions with the argument `connection` run within a
transaction.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any

from image_poster.adapters.sqlite.events import add_event
from image_poster.domain.decisions import closes
from image_poster.domain.events import Event, EventType
from image_poster.domain.moderation import (
    Action,
    Decision,
    EntryKind,
    Match,
    ModerationRecords,
    NewEntry,
    Reason,
    Subject,
    of_owner,
    outcome_of,
)

DECISION_COLUMNS = (
    "id, made_by, action, post_id, comment_id, user, reason, text, until, created_at, owner"
)
# The order of rows is that of the transactions; ids were made before their transaction.
DECISIONS_ABOUT = f"SELECT {DECISION_COLUMNS} FROM decisions WHERE subject = ? ORDER BY rowid DESC"  # noqa: S608 - constants
_LOG = f"INSERT INTO decisions ({DECISION_COLUMNS}, subject) VALUES (?{', ?' * 11})"  # noqa: S608 - constants
_OPEN_ENTRY = (
    "INSERT OR IGNORE INTO entries (id, subject, kind, since, match_line, match_decision) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
_FIND_OPEN = "SELECT id FROM entries WHERE subject = ? AND kind = ? AND closed_by IS NULL"
_COUNT_REPORT = (
    "UPDATE entries SET reports = reports + 1, reasons = json_set(reasons, '$.' || ?1, "
    "coalesce(json_extract(reasons, '$.' || ?1), 0) + 1) WHERE id = ?2"
)
# The entries of a post, and of its comments: their keys begin with the post's key and a colon.
_CLOSE_CONTENT = (
    "UPDATE entries SET closed_by = ?1 "
    "WHERE closed_by IS NULL AND kind <> 'appeal' AND subject >= ?2 AND subject < ?2 || ';'"
)
_CLOSE_KIND = (
    "UPDATE entries SET closed_by = ? WHERE subject = ? AND kind = ? AND closed_by IS NULL"
)


def subject_of(key: str) -> Subject:
    """The subject with this `Subject.key`."""
    noun, _, rest = key.partition(":")
    if noun == "user":
        return Subject(user=rest)
    post_id, _, comment_id = rest.partition(":")
    return Subject(post_id, comment_id or None)


def decoded_decision(row: Iterable[Any]) -> Decision:
    """The decision in a row of `DECISION_COLUMNS`."""
    id_, by, action, *rest = row
    return Decision(id_, by, Action(action), *rest)


def decoded_match(line: int | None, decision_id: str | None) -> Match | None:
    """The match of an entry, None if it has none."""
    return None if line is None and decision_id is None else Match(line, decision_id)


def decoded_outcome(closed_by: str | None) -> str | None:
    """The outcome of a report whose entry was closed by this action; None: the entry is open."""
    return None if closed_by is None else outcome_of(Action(closed_by))


def log_decision(connection: sqlite3.Connection, decision: Decision) -> None:
    """Add a decision to the log."""
    connection.execute(
        _LOG,
        (
            *(decision.id, decision.by, decision.action),
            *decision.subject,
            *(decision.reason, decision.text, decision.until, decision.created_at),
            *(decision.owner, decision.subject.key),
        ),
    )
    ids = decision.post_id, decision.comment_id, decision.id, decision.user
    add_event(connection, Event(EventType.DECISION_MADE, *ids))


def log_for_owner(connection: sqlite3.Connection, decision: Decision | None, owner: str) -> None:
    """Add a decision about the content of `owner` to the log, by the rule of `of_owner`."""
    owned = of_owner(decision, owner)
    if owned is not None:
        log_decision(connection, owned)


def add_records(
    connection: sqlite3.Connection, records: ModerationRecords, subject: Subject, owner: str
) -> None:
    """Add the records of a change of the content of `owner` to the log and the queue."""
    log_for_owner(connection, records.decision, owner)
    if records.entry is not None:
        open_entry(connection, subject, records.entry)


def open_entry(connection: sqlite3.Connection, subject: Subject, entry: NewEntry) -> str:
    """Open an entry, unless the subject has an open one of this kind. Return the id of the open
    entry."""
    match = entry.match or Match()
    connection.execute(
        _OPEN_ENTRY,
        (entry.id, subject.key, entry.kind, entry.since, match.line, match.decision),
    )
    return find_open_entry(connection, subject, entry.kind) or entry.id


def find_open_entry(
    connection: sqlite3.Connection, subject: Subject, kind: EntryKind
) -> str | None:
    """The id of the subject's open entry of this kind, if there is one."""
    row = connection.execute(_FIND_OPEN, (subject.key, kind)).fetchone()
    return None if row is None else str(row[0])


def open_kinds(connection: sqlite3.Connection, subject: Subject) -> frozenset[EntryKind]:
    """The kinds of the subject's open entries."""
    rows = connection.execute(
        "SELECT kind FROM entries WHERE subject = ? AND closed_by IS NULL", (subject.key,)
    )
    return frozenset(EntryKind(kind) for (kind,) in rows)


def count_report(connection: sqlite3.Connection, entry_id: str, reason: Reason) -> None:
    """Count a report in its entry."""
    connection.execute(_COUNT_REPORT, (reason, entry_id))


def close_content_entries(connection: sqlite3.Connection, subject: Subject) -> None:
    """Close the open entries of a deleted post and of its comments, or of a deleted comment. An
    appeal stays: it needs a decision."""
    connection.execute(_CLOSE_CONTENT, (Action.DELETE, subject.key))


def close_entries(connection: sqlite3.Connection, subject: Subject, action: Action) -> None:
    """Close the open entries of a subject after a decision, by the rule of `closes`."""
    connection.executemany(
        _CLOSE_KIND,
        [(action, subject.key, kind) for kind in EntryKind if closes(action, kind)],
    )
