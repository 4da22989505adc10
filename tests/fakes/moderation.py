"""Reports, the moderation queue and the log of decisions in memory."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TypeVar

import msgspec

from fakes.state import MemoryEntry, MemoryState
from image_poster.domain import errors
from image_poster.domain.accounts import GOOD_STANDING, Ban
from image_poster.domain.decisions import NO_HASH, SubjectState, Verdict, judge
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.ids import parse_rfc3339
from image_poster.domain.moderation import (
    APPEALABLE,
    DISMISSED,
    LATEST_REPORTS,
    Action,
    AlreadyReportedError,
    Appeal,
    AppealedDecision,
    Decision,
    EntryKind,
    NewEntry,
    QueueEntry,
    Report,
    Subject,
    outcome_of,
)
from image_poster.domain.signing import Page
from image_poster.ports import Clock

Item = TypeVar("Item", Report, Decision)


def newest_page(items: Sequence[Item], limit: int, after: str | None) -> Page[Item, str]:
    """A page of items with ids, newest first."""
    older = [item for item in items if after is None or item.id < after]
    older.sort(key=lambda item: item.id, reverse=True)
    return Page(older[:limit], older[limit - 1].id if len(older) > limit else None)


class MemoryReportStore:
    """`ReportStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def add(self, report: Report, record: IdempotencyRecord | None = None) -> None:
        self._state.check_unused(record)
        self._state.check_standing(report.reporter, self._clock.now_ms())
        for former in self._of(report.reporter):
            if former.subject == report.subject and former.outcome is None:
                raise AlreadyReportedError(former)
        self._check_exists(report.subject)
        self._state.keep_record(record, self._clock.service_ms())
        entry = NewEntry(report.id, EntryKind.REPORT, report.created_at)
        self._state.reports[report.id] = (report, self._state.open_entry(report.subject, entry))

    async def check_unused(self, record: IdempotencyRecord | None) -> None:
        self._state.check_unused(record)

    async def page(self, reporter: str, *, limit: int, after: str | None) -> Page[Report, str]:
        return newest_page(self._of(reporter), limit, after)

    async def reported_posts(self, reporter: str, post_ids: Collection[str]) -> frozenset[str]:
        return frozenset(
            report.post_id
            for report in self._of(reporter)
            if report.comment_id is None and report.post_id in post_ids
        )

    def _of(self, reporter: str) -> list[Report]:
        reports = self._state.reports.values()
        return [
            self._with_outcome(report, entry_id)
            for report, entry_id in reports
            if report.reporter == reporter
        ]

    def _with_outcome(self, report: Report, entry_id: str) -> Report:
        action = self._state.entries[entry_id].closed_by
        outcome = None if action is None else outcome_of(action)
        return msgspec.structs.replace(report, outcome=outcome)

    def _check_exists(self, subject: Subject) -> None:
        post_id = subject.post_id or ""
        self._state.post(post_id)
        if subject.comment_id and subject.comment_id not in self._state.comments.get(post_id, {}):
            raise errors.CommentNotFoundError


class MemoryDecisionStore:
    """`DecisionStore` and `BlockedHashes` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def queue(self, *, limit: int, after: str | None) -> Page[QueueEntry, str]:
        ids = sorted(
            id_
            for id_, entry in self._state.entries.items()
            if entry.closed_by is None and (after is None or id_ > after)
        )
        entries = [self._entry(id_, self._state.entries[id_]) for id_ in ids[:limit]]
        return Page(entries, ids[limit - 1] if len(ids) > limit else None)

    async def check_unused(self, record: IdempotencyRecord | None) -> None:
        self._state.check_unused(record)

    async def decide(
        self,
        decision: Decision,
        record: IdempotencyRecord | None = None,
        *,
        block_image: bool = False,
    ) -> Verdict:
        self._state.check_unused(record)
        verdict = judge(decision, self._subject_state(decision.subject))
        if not verdict.is_new:
            return verdict
        if block_image:
            image_hash = self._state.image_hashes.get(decision.post_id or "")
            if not image_hash:
                raise errors.DecisionConflictError(NO_HASH)
            self._state.blocked_hashes.setdefault(image_hash, decision.id)
        self._apply(verdict)
        self._state.close_entries(decision.subject, decision.action)
        self._state.decisions.append(verdict.decision)
        self._state.keep_record(record, self._clock.service_ms())
        return verdict

    async def log(self, *, limit: int, after: str | None) -> Page[Decision, str]:
        return newest_page(self._state.decisions, limit, after)

    async def about(
        self, owner: str, *, limit: int, after: str | None
    ) -> Page[AppealedDecision, str]:
        owned = [decision for decision in self._state.decisions if decision.owner == owner]
        page = newest_page(owned, limit, after)
        return Page([self._with_appeal(decision) for decision in page.items], page.next)

    async def in_force(self, post_id: str) -> AppealedDecision | None:
        decision = self._subject_state(Subject(post_id)).in_force
        return None if decision is None else self._with_appeal(decision)

    async def appeal(
        self,
        decision_id: str,
        owner: str,
        appeal: Appeal,
        record: IdempotencyRecord | None = None,
    ) -> None:
        self._state.check_unused(record)
        self._state.check_standing(owner, self._clock.now_ms(), while_banned=True)
        decision = self._appealable(decision_id, owner)
        self._state.keep_record(record, self._clock.service_ms())
        entry = NewEntry(self._clock.new_id(), EntryKind.APPEAL, appeal.created_at)
        entry_id = self._state.open_entry(decision.subject, entry)
        self._state.appeals[decision_id] = (appeal, entry_id)

    async def nearest(self, image_hash: str) -> tuple[str, int] | None:
        wanted = int(image_hash, 16)
        distances = [
            ((int(blocked, 16) ^ wanted).bit_count(), decision_id)
            for blocked, decision_id in self._state.blocked_hashes.items()
        ]
        distance, decision_id = min(distances, default=(0, None))
        return None if decision_id is None else (decision_id, distance)

    def _entry(self, id_: str, entry: MemoryEntry) -> QueueEntry:
        reports = [report for report, of in self._state.reports.values() if of == id_]
        appeals = [
            (decision_id, appeal)
            for decision_id, (appeal, of) in self._state.appeals.items()
            if of == id_
        ]
        appealed_id, appeal = appeals[-1] if appeals else (None, None)
        appealed = [decision for decision in self._state.decisions if decision.id == appealed_id]
        return QueueEntry(
            id=id_,
            kind=entry.kind,
            subject=entry.subject,
            since=entry.since,
            reports=len(reports),
            reasons=dict(Counter(str(report.reason) for report in reports)),
            latest=tuple(newest_page(reports, LATEST_REPORTS, None).items),
            appeal=appeal,
            match=entry.match,
            appealed=appealed[0] if appealed else None,
        )

    def _with_appeal(self, decision: Decision) -> AppealedDecision:
        if decision.id not in self._state.appeals:
            return AppealedDecision(decision, None)
        appeal, entry_id = self._state.appeals[decision.id]
        is_dismissed = self._state.entries[entry_id].closed_by is Action.DISMISS
        outcome = DISMISSED if is_dismissed else None
        return AppealedDecision(decision, msgspec.structs.replace(appeal, outcome=outcome))

    def _appealable(self, decision_id: str, owner: str) -> Decision:
        for decision in self._state.decisions:
            if (decision.id, decision.owner) == (decision_id, owner):
                break
        else:
            raise errors.DecisionNotFoundError
        if decision_id in self._state.appeals:
            raise errors.AppealMadeError
        if decision.action not in APPEALABLE:
            raise errors.DecisionConflictError
        return decision

    def _subject_state(self, subject: Subject) -> SubjectState:
        about = [decision for decision in self._state.decisions if decision.subject == subject]
        setting = [decision for decision in about if decision.sets_state]
        state = SubjectState(
            open_kinds=frozenset(e.kind for e in self._state.open_entries(subject).values()),
            last=about[-1] if about else None,
            in_force=setting[-1] if setting else None,
        )
        if subject.user is not None:
            standing = self._state.standings.get(subject.user, GOOD_STANDING)
            ban = standing.ban_in_force(self._clock.now_ms())
            return state._replace(owner=subject.user, ban=ban, is_deleting=standing.is_deleting)
        record = self._state.posts.get(subject.post_id or "")
        if record is None:
            return state
        if subject.comment_id is None:
            return state._replace(owner=record.post.creator, post=record.post)
        comment = self._state.comments.get(record.post.id, {}).get(subject.comment_id)
        return state._replace(owner=None if comment is None else comment.creator)

    def _apply(self, verdict: Verdict) -> None:
        decision, now_ms = verdict.decision, self._clock.service_ms()
        post_id = decision.post_id or ""
        if decision.user is not None:
            self._apply_to_user(decision, decision.user)
        elif verdict.post is not None:
            self._state.replace_post(self._state.post(post_id), verdict.post, now_ms)
        elif decision.action is Action.DELETE and decision.comment_id is not None:
            self._state.delete_comment(post_id, decision.comment_id, decision.by, now_ms)
        elif decision.action is Action.DELETE:
            self._state.delete_post(post_id, decision.by, now_ms)

    def _apply_to_user(self, decision: Decision, user: str) -> None:
        standing = self._state.standings.get(user, GOOD_STANDING)
        if decision.action is Action.BAN:
            until_ms = None if decision.until is None else parse_rfc3339(decision.until)
            standing = standing._replace(ban=Ban(decision.reason, until_ms, decision.id))
        elif decision.action is Action.UNBAN:
            standing = standing._replace(ban=None)
        elif decision.action is Action.DELETE:
            standing = standing._replace(is_deleting=True)
        self._state.standings[user] = standing
