"""Moderation: reports, the queue, decisions and appeals."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from image_poster.domain.comments import decode_comment
from image_poster.domain.decisions import DecisionOrder, Verdict
from image_poster.domain.errors import (
    CommentNotFoundError,
    ImagePosterError,
    PostNotFoundError,
    invalid,
)
from image_poster.domain.idempotency import (
    AlreadyAnsweredError,
    Answer,
    IdempotencyRecord,
    answer_once,
    replayed_answer,
)
from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.moderation import (
    NEEDS_REASON,
    Action,
    AlreadyReportedError,
    Appeal,
    AppealedDecision,
    Decision,
    QueueEntry,
    Reason,
    Report,
    Subject,
    checked_appeal_text,
    checked_report_text,
)
from image_poster.domain.posts import Post, StoredPost, check_visible, is_withheld
from image_poster.domain.signing import CursorSigner, Page
from image_poster.ports import Clock
from image_poster.ports.comments import CommentStore
from image_poster.ports.images import FilesRemainError, ImageStore
from image_poster.ports.moderation import DecisionStore, ReportStore
from image_poster.ports.posts import PostStore
from image_poster.services.accounts import AccountService
from image_poster.services.posts import expose_ready

ForgetCopies = Callable[[str], Awaitable[None]]


class ModerationAnswer(NamedTuple):
    """An answer, and True if its request created something (201), or else repeated it (200)."""

    answer: Answer
    is_new: bool


class EntryContent(NamedTuple):
    """An entry of the queue, with its post and its comment's document, if they are there."""

    entry: QueueEntry
    post: StoredPost | None
    comment: bytes | None


class ModerationRenderers(NamedTuple):
    """Functions that encode resources as the API shows them; idempotency records keep these
    bodies."""

    report: Callable[[Report], bytes]
    decision: Callable[[Decision], bytes]
    appeal: Callable[[Appeal], bytes]


@dataclass(frozen=True)
class ReportService:
    """Receives and lists users' reports."""

    reports: ReportStore
    posts: PostStore
    comments: CommentStore
    clock: Clock
    cursors: CursorSigner
    render: ModerationRenderers

    async def report(
        self, reporter: Identity, subject: Subject, reason: Reason, text: str, key: str | None
    ) -> ModerationAnswer:
        """Store a report of a post or comment; while the caller has an open one of the same
        subject, return that. Raises `ValidationFailedError`, also for one's own content,
        `PostNotFoundError`, `CommentNotFoundError` and `IdempotencyKeyReusedError`."""
        cleaned = checked_report_text(text)
        report = Report(
            id=self.clock.new_id(),
            reporter=reporter.user,
            post_id=subject.post_id or "",
            comment_id=subject.comment_id,
            reason=reason,
            text=cleaned,
            created_at=rfc3339(self.clock.now_ms()),
        )
        answer = Answer(self.render.report(report), "/me/reports")
        request = (b"report", subject.key.encode(), reason.encode(), cleaned.encode())
        record = answer.record(reporter.user, key, *request)
        try:
            adding = self._add(report, record, reporter)
            answer = await answer_once(adding, answer, record)
        except AlreadyReportedError as exc:
            former = Answer(self.render.report(exc.report), "/me/reports")
            return ModerationAnswer(former, is_new=False)
        return ModerationAnswer(answer, is_new=True)

    async def page(self, reporter: str, *, limit: int, cursor: str | None) -> Page[Report, str]:
        """The caller's reports, newest first. Raises `InvalidCursorError`."""
        list_name = f"reports:{reporter}"
        after = self.cursors.read(list_name, cursor, str)
        page = await self.reports.page(reporter, limit=limit, after=after)
        return self.cursors.signed(list_name, page)

    async def _add(
        self, report: Report, record: IdempotencyRecord | None, reporter: Identity
    ) -> None:
        await self.reports.check_unused(record)
        if await self._creator(report.subject, reporter) == reporter.user:
            raise invalid(
                "comment_id" if report.comment_id else "post_id",
                "is your own content, which you cannot report",
            )
        await self.reports.add(report, record)

    async def _creator(self, subject: Subject, viewer: Identity) -> str:
        """The creator of a subject that `viewer` may see. Raises `PostNotFoundError` and
        `CommentNotFoundError`."""
        stored = await self.posts.find(subject.post_id or "")
        if stored is None:
            raise PostNotFoundError
        post = stored.post
        check_visible(post, viewer)
        if subject.comment_id is None:
            return post.creator
        document = await self.comments.find(post.id, subject.comment_id)
        return decode_comment(document).creator


@dataclass(frozen=True)
class ModerationService:
    """Lists the queue and the log, and applies decisions and appeals. `forget_copies` invalidates a
    CDN's copies of a post's images."""

    decisions: DecisionStore
    posts: PostStore
    comments: CommentStore
    images: ImageStore
    accounts: AccountService
    clock: Clock
    cursors: CursorSigner
    render: ModerationRenderers
    forget_copies: ForgetCopies | None = None

    async def queue(self, *, limit: int, cursor: str | None) -> Page[EntryContent, str]:
        """The open entries, oldest first, with their content. Raises `InvalidCursorError`."""
        after = self.cursors.read("queue", cursor, str)
        page = await self.decisions.queue(limit=limit, after=after)
        entries = [await self._content(entry) for entry in page.items]
        return self.cursors.signed("queue", Page(entries, page.next))

    async def log(self, *, limit: int, cursor: str | None) -> Page[Decision, str]:
        """The log of decisions, newest first. Raises `InvalidCursorError`."""
        after = self.cursors.read("decisions", cursor, str)
        page = await self.decisions.log(limit=limit, after=after)
        return self.cursors.signed("decisions", page)

    async def about(
        self, owner: str, *, limit: int, cursor: str | None
    ) -> Page[AppealedDecision, str]:
        """The decisions about a user, newest first. Raises `InvalidCursorError`."""
        list_name = f"decisions:{owner}"
        after = self.cursors.read(list_name, cursor, str)
        page = await self.decisions.about(owner, limit=limit, after=after)
        return self.cursors.signed(list_name, page)

    async def notice(self, post: Post) -> AppealedDecision | None:
        """The decision by which a post is not public; None for a public post, or without such a
        decision. The caller must be allowed to see the post."""
        return await self.decisions.in_force(post.id) if is_withheld(post) else None

    async def decide(
        self, admin: Identity, order: DecisionOrder, key: str | None
    ) -> ModerationAnswer:
        """Apply an admin's decision; with an idempotency key, once. Repeating the decision in force
        changes nothing, but completes what a crash interrupted.

        The renditions of a post leave the public place before its row says `hidden`, and return
        after it says `ready`. So a crash between the two leaves them private. Raises
        `ValidationFailedError`, `DecisionConflictError`, `PostNotFoundError`,
        `CommentNotFoundError` and `IdempotencyKeyReusedError`.
        """
        now_ms = self.clock.now_ms()
        checked = order.checked(now_ms)
        if checked.subject.user == admin.user and checked.action in NEEDS_REASON:
            raise invalid("user", f"must be another user: you cannot {checked.action} yourself")
        decision = _new_decision(self.clock.new_id(), admin, checked, now_ms)
        answer = Answer(self.render.decision(decision), "/moderation/decisions")
        record = answer.record(admin.user, key, *_request_of(checked))
        try:
            verdict = await self._decide(decision, record, block_image=checked.block_image)
        except AlreadyAnsweredError as exc:
            return ModerationAnswer(replayed_answer(exc, record), is_new=True)
        await self._follow(decision)
        if verdict.is_new:
            return ModerationAnswer(answer, is_new=True)
        former = Answer(self.render.decision(verdict.decision), "/moderation/decisions")
        return ModerationAnswer(former, is_new=False)

    async def _decide(
        self, decision: Decision, record: IdempotencyRecord | None, *, block_image: bool
    ) -> Verdict:
        """Store the decision; before it is stored, `hide` moves the renditions. Raises
        `AlreadyAnsweredError`, and the errors of `DecisionStore.decide`."""
        if decision.action is not Action.HIDE:
            return await self.decisions.decide(decision, record, block_image=block_image)
        await self.decisions.check_unused(record)
        await self._withhold_ready(decision)
        try:
            return await self.decisions.decide(decision, record)
        except (AlreadyAnsweredError, ImagePosterError):
            await self._expose_ready(decision)
            raise

    async def appeal(
        self, caller: Identity, decision_id: str, text: str, key: str | None
    ) -> Answer:
        """Store the caller's appeal; with an idempotency key, once. Raises `ValidationFailedError`,
        `DecisionNotFoundError`, `AppealMadeError`, `DecisionConflictError` and
        `IdempotencyKeyReusedError`."""
        cleaned = checked_appeal_text(text)
        appeal = Appeal(cleaned, rfc3339(self.clock.now_ms()))
        answer = Answer(self.render.appeal(appeal), "/me/decisions")
        request = (b"appeal", decision_id.encode(), cleaned.encode())
        record: IdempotencyRecord | None = answer.record(caller.user, key, *request)
        writing = self.decisions.appeal(decision_id, caller.user, appeal, record)
        return await answer_once(writing, answer, record)

    async def _content(self, entry: QueueEntry) -> EntryContent:
        subject = entry.subject
        if subject.post_id is None:
            return EntryContent(entry, None, None)
        post, comment = await self.posts.find(subject.post_id), None
        if post is not None and subject.comment_id is not None:
            with suppress(CommentNotFoundError):
                comment = await self.comments.find(subject.post_id, subject.comment_id)
        return EntryContent(entry, post, comment)

    async def _withhold_ready(self, decision: Decision) -> None:
        """Move the renditions of a ready post out of the public place."""
        if await self.posts.is_ready(decision.post_id or ""):
            await self.images.withhold(decision.post_id or "")

    async def _expose_ready(self, decision: Decision) -> None:
        await expose_ready(self.posts, self.images, decision.post_id or "")

    async def _follow(self, decision: Decision) -> None:
        """Bring files, a CDN and the user's content in line with a stored decision. Each step may
        be repeated."""
        post_id = decision.post_id
        if decision.user is not None:
            if decision.action is Action.DELETE:
                await self.accounts.delete_unasked(decision.user)
        elif post_id is None or decision.comment_id is not None:
            return
        elif decision.action in {Action.RESTORE, Action.PUBLISH}:
            await self._expose_ready(decision)
        elif decision.action is Action.HIDE:
            # Once more: a restoration at the same time may have moved them back before the row.
            await self.images.withhold(post_id)
            if self.forget_copies is not None:
                await self.forget_copies(post_id)
        elif decision.action is Action.DELETE:
            with suppress(FilesRemainError):  # private ones: the purger removes them
                await self.images.remove(post_id)


def _new_decision(decision_id: str, admin: Identity, order: DecisionOrder, now_ms: int) -> Decision:
    return Decision(
        id=decision_id,
        by=admin.user,
        action=order.action,
        post_id=order.subject.post_id,
        comment_id=order.subject.comment_id,
        user=order.subject.user,
        reason=order.reason,
        text=order.text,
        until=order.until,
        created_at=rfc3339(now_ms),
    )


def _request_of(order: DecisionOrder) -> tuple[bytes, ...]:
    """Every part that distinguishes a request for a decision from others."""
    return (b"decision", msgspec.json.encode(order))
