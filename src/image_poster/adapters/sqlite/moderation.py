"""The moderation queue, decisions and their log, and appeals in SQLite."""

import sqlite3
from typing import Any

import msgspec

from image_poster.adapters.sqlite.accounts import LATEST_REPORTS_OF, decoded_report
from image_poster.adapters.sqlite.comments import delete_comments, find_comment
from image_poster.adapters.sqlite.database import GREATEST_ID, Database
from image_poster.adapters.sqlite.entries import (
    DECISION_COLUMNS,
    DECISIONS_ABOUT,
    close_entries,
    decoded_decision,
    decoded_match,
    log_decision,
    open_entry,
    open_kinds,
    subject_of,
)
from image_poster.adapters.sqlite.idempotency import (
    add_tombstone,
    check_record_unused,
    check_unused,
    store_record,
)
from image_poster.adapters.sqlite.posts import change_post, delete_post, find_post
from image_poster.adapters.sqlite.standing import (
    begin_deletion,
    check_standing,
    end_ban,
    find_standing,
    set_ban,
)
from image_poster.domain.accounts import Ban
from image_poster.domain.decisions import NO_HASH, SubjectState, Verdict, judge
from image_poster.domain.errors import AppealMadeError, DecisionConflictError, DecisionNotFoundError
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.ids import parse_rfc3339
from image_poster.domain.moderation import (
    APPEALABLE,
    DISMISSED,
    Action,
    Appeal,
    AppealedDecision,
    Decision,
    EntryKind,
    NewEntry,
    QueueEntry,
    Subject,
)
from image_poster.domain.signing import Page
from image_poster.ports import Clock
from image_poster.ports.posts import PostNotifier
from image_poster.services.posts import NULL_NOTIFIER

_QUEUE = (
    "SELECT id, kind, subject, since, reports, reasons, match_line, match_decision FROM entries "
    "WHERE closed_by IS NULL AND id > ? ORDER BY id LIMIT ?"
)
_NEWEST_APPEAL = (
    "SELECT decision_id, text, created_at FROM appeals "
    "WHERE entry_id = ? ORDER BY decision_id DESC LIMIT 1"
)
_DECISION = f"SELECT {DECISION_COLUMNS} FROM decisions WHERE id = ?"  # noqa: S608 - constants
_LOG = f"SELECT {DECISION_COLUMNS} FROM decisions WHERE id < ? ORDER BY id DESC LIMIT ?"  # noqa: S608 - constants
_DECISIONS_OF_OWNER = (
    f"SELECT {DECISION_COLUMNS} FROM decisions "  # noqa: S608 - constants
    "WHERE owner = ? AND id < ? ORDER BY id DESC LIMIT ?"
)
_OWNED_DECISION = f"SELECT {DECISION_COLUMNS} FROM decisions WHERE id = ? AND owner = ?"  # noqa: S608 - constants
_FIND_APPEAL = (
    "SELECT text, created_at, closed_by FROM appeals JOIN entries ON entries.id = entry_id "
    "WHERE decision_id = ?"
)
_BLOCK_HASH = "INSERT OR IGNORE INTO blocked_hashes (hash, decision_id) VALUES (?, ?)"


class SqliteDecisionStore:
    """`DecisionStore` and `BlockedHashes` in SQLite. `notifier` is notified of every post that a
    decision changes or deletes."""

    def __init__(
        self, database: Database, clock: Clock, notifier: PostNotifier = NULL_NOTIFIER
    ) -> None:
        self._database = database
        self._clock = clock
        self._notifier = notifier
        # The blocked hashes, and the greatest rowid of those: hashes are only added.
        self._hashes: list[tuple[int, str]] = []
        self._last_row = 0

    async def queue(self, *, limit: int, after: str | None) -> Page[QueueEntry, str]:
        rows = self._database.read(_QUEUE, after or "", limit + 1)
        entries = [self._entry(row) for row in rows[:limit]]
        return Page(entries, entries[-1].id if len(rows) > limit else None)

    async def check_unused(self, record: IdempotencyRecord | None) -> None:
        await check_record_unused(self._database, record)

    async def decide(
        self,
        decision: Decision,
        record: IdempotencyRecord | None = None,
        *,
        block_image: bool = False,
    ) -> Verdict:
        now = self._clock.service_ms()

        def apply(connection: sqlite3.Connection) -> Verdict:
            check_unused(connection, record)
            state = subject_state(connection, decision.subject, self._clock.now_ms())
            verdict = judge(decision, state)
            if verdict.is_new:
                if block_image:
                    _block_hash(connection, decision)
                _apply(connection, verdict, now)
                close_entries(connection, decision.subject, decision.action)
                log_decision(connection, verdict.decision)
                store_record(connection, record, now)
            return verdict

        verdict = await self._database.write(apply)
        if decision.post_id is not None:
            self._notifier.notify(decision.post_id)
        return verdict

    async def log(self, *, limit: int, after: str | None) -> Page[Decision, str]:
        rows = self._database.read(_LOG, after or GREATEST_ID, limit + 1)
        decisions = [decoded_decision(row) for row in rows[:limit]]
        return Page(decisions, decisions[-1].id if len(rows) > limit else None)

    async def about(
        self, owner: str, *, limit: int, after: str | None
    ) -> Page[AppealedDecision, str]:
        rows = self._database.read(_DECISIONS_OF_OWNER, owner, after or GREATEST_ID, limit + 1)
        items = [self._with_appeal(decoded_decision(row)) for row in rows[:limit]]
        return Page(items, items[-1].decision.id if len(rows) > limit else None)

    async def in_force(self, post_id: str) -> AppealedDecision | None:
        rows = self._database.read(DECISIONS_ABOUT, Subject(post_id).key)
        decisions = map(decoded_decision, rows)
        decision = next((decision for decision in decisions if decision.sets_state), None)
        return None if decision is None else self._with_appeal(decision)

    async def appeal(
        self,
        decision_id: str,
        owner: str,
        appeal: Appeal,
        record: IdempotencyRecord | None = None,
    ) -> None:
        entry = NewEntry(self._clock.new_id(), EntryKind.APPEAL, appeal.created_at)
        now = self._clock.service_ms()
        self._database.check_free_space(len(appeal.text))

        def insert(connection: sqlite3.Connection) -> None:
            check_unused(connection, record)
            check_standing(connection, owner, self._clock.now_ms(), while_banned=True)
            decision = _appealable(connection, decision_id, owner)
            store_record(connection, record, now)
            connection.execute(
                "INSERT INTO appeals (decision_id, owner, entry_id, text, created_at) "
                "VALUES (?, ?, ?, ?, ?)",
                (
                    *(decision_id, owner, open_entry(connection, decision.subject, entry)),
                    *(appeal.text, appeal.created_at),
                ),
            )

        await self._database.write(insert)

    async def nearest(self, image_hash: str) -> tuple[str, int] | None:
        self._load_new_hashes()
        wanted = int(image_hash, 16)
        distances = [
            ((blocked ^ wanted).bit_count(), decision_id) for blocked, decision_id in self._hashes
        ]
        if not distances:
            return None
        distance, decision_id = min(distances)
        return decision_id, distance

    def _load_new_hashes(self) -> None:
        rows = self._database.read(
            "SELECT rowid, hash, decision_id FROM blocked_hashes WHERE rowid > ? ORDER BY rowid",
            self._last_row,
        )
        for self._last_row, text, decision_id in rows:
            self._hashes.append((int(text, 16), decision_id))

    def _entry(self, row: tuple[Any, ...]) -> QueueEntry:
        id_, kind, subject, since, reports, reasons, *match = row
        latest = self._database.read(LATEST_REPORTS_OF, id_) if reports else []
        appeal, appealed = self._newest_appeal(id_)
        return QueueEntry(
            id=id_,
            kind=EntryKind(kind),
            subject=subject_of(subject),
            since=since,
            reports=reports,
            reasons=msgspec.json.decode(reasons),
            latest=tuple(map(decoded_report, latest)),
            appeal=appeal,
            match=decoded_match(*match),
            appealed=appealed,
        )

    def _newest_appeal(self, entry_id: str) -> tuple[Appeal | None, Decision | None]:
        """The appeal of an entry, and the decision that it is against."""
        appeal = self._database.read_one(_NEWEST_APPEAL, entry_id)
        if appeal is None:
            return None, None
        decision_id, text, created_at = appeal
        decision = self._database.read_one(_DECISION, decision_id)
        return Appeal(text, created_at), None if decision is None else decoded_decision(decision)

    def _with_appeal(self, decision: Decision) -> AppealedDecision:
        row = self._database.read_one(_FIND_APPEAL, decision.id)
        if row is None:
            return AppealedDecision(decision, None)
        text, created_at, closed_by = row
        outcome = DISMISSED if closed_by == Action.DISMISS else None
        return AppealedDecision(decision, Appeal(text, created_at, outcome))


def _block_hash(connection: sqlite3.Connection, decision: Decision) -> None:
    """Block the hash of the post's image. Raises `DecisionConflictError` if it has none."""
    sql = "SELECT image_hash FROM posts WHERE id = ?"
    (image_hash,) = connection.execute(sql, (decision.post_id,)).fetchone()
    if not image_hash:
        raise DecisionConflictError(NO_HASH)
    connection.execute(_BLOCK_HASH, (image_hash, decision.id))


def subject_state(connection: sqlite3.Connection, subject: Subject, now_ms: int) -> SubjectState:
    """The stored state of a subject at the wall clock's time `now_ms`."""
    rows = connection.execute(DECISIONS_ABOUT, (subject.key,))
    decisions = [decoded_decision(row) for row in rows]
    state = SubjectState(
        open_kinds=open_kinds(connection, subject),
        last=decisions[0] if decisions else None,
        in_force=next((decision for decision in decisions if decision.sets_state), None),
    )
    if subject.user is None:
        return _content_state(connection, subject, state)
    standing = find_standing(connection, subject.user)
    return state._replace(
        owner=subject.user,
        ban=standing.ban_in_force(now_ms),
        is_deleting=standing.is_deleting,
    )


def _content_state(
    connection: sqlite3.Connection, subject: Subject, state: SubjectState
) -> SubjectState:
    """The state with the owner of a post or comment that is there, and the post."""
    post_id = subject.post_id or ""
    post = find_post(connection, post_id)
    if post is None:
        return state
    if subject.comment_id is None:
        return state._replace(owner=post.creator, post=post)
    comment = find_comment(connection, post_id, subject.comment_id)
    return state if comment is None else state._replace(owner=comment.creator)


def _apply(connection: sqlite3.Connection, verdict: Verdict, now_ms: int) -> None:
    """Change the state of the subject of a new decision."""
    decision, post = verdict.decision, verdict.post
    if decision.user is not None:
        _apply_to_user(connection, decision, decision.user, now_ms)
    elif post is not None:
        change_post(connection, post.id, lambda _: post, now_ms)
    elif decision.action is Action.DELETE:
        _delete_content(connection, decision, now_ms)


def _apply_to_user(
    connection: sqlite3.Connection, decision: Decision, user: str, now_ms: int
) -> None:
    if decision.action is Action.BAN:
        until_ms = None if decision.until is None else parse_rfc3339(decision.until)
        set_ban(connection, user, Ban(decision.reason, until_ms, decision.id))
    elif decision.action is Action.UNBAN:
        end_ban(connection, user)
    elif decision.action is Action.DELETE:
        begin_deletion(connection, user, now_ms)


def _delete_content(connection: sqlite3.Connection, decision: Decision, now_ms: int) -> None:
    admin, post_id = Identity(decision.by, admin=True), decision.post_id or ""
    if decision.comment_id is not None:
        delete_comments(connection, [(post_id, decision.comment_id)], admin, now_ms)
    else:
        delete_post(connection, post_id)
        add_tombstone(connection, post_id, admin, now_ms, pending=True)


def _appealable(connection: sqlite3.Connection, decision_id: str, owner: str) -> Decision:
    """The decision, if its owner may appeal against it. Raises `DecisionNotFoundError`,
    `AppealMadeError` and `DecisionConflictError`."""
    row = connection.execute(_OWNED_DECISION, (decision_id, owner)).fetchone()
    if row is None:
        raise DecisionNotFoundError
    if connection.execute(_FIND_APPEAL, (decision_id,)).fetchone():
        raise AppealMadeError
    decision = decoded_decision(row)
    if decision.action not in APPEALABLE:
        raise DecisionConflictError
    return decision
