"""Reports of posts and comments, decisions about posts, comments and users, and appeals.

A subject is a post, a comment or a user. The moderation queue has at most one open entry for each
subject and kind. A decision about the subject closes all its open entries, whatever their number. A
report belongs to an entry, and is open as long as that entry is.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from image_poster.domain.accounts import Ban
from image_poster.domain.errors import (
    CommentNotFoundError,
    DecisionConflictError,
    PostNotFoundError,
    invalid,
)
from image_poster.domain.identity import Identity
from image_poster.domain.ids import parse_rfc3339, rfc3339
from image_poster.domain.limits import MODERATION_TEXT_CHARACTERS, clean, clean_required
from image_poster.domain.posts import Post, PostStatus, is_withheld

# The author of automatic decisions in the log.
THE_SERVICE = "service"
LATEST_REPORTS = 5


class Reason(StrEnum):
    """The reason of a report, and of a decision."""

    SPAM = "spam"
    NUDITY = "nudity"
    VIOLENCE = "violence"
    HATE = "hate"
    HARASSMENT = "harassment"
    SELF_HARM = "self_harm"
    ILLEGAL = "illegal"
    COPYRIGHT = "copyright"
    OTHER = "other"


class Action(StrEnum):
    """The action of a decision. `reject` is automatic; `edit` is an admin's edit of another user's
    text."""

    HIDE = "hide"
    RESTORE = "restore"
    DELETE = "delete"
    PUBLISH = "publish"
    DISMISS = "dismiss"
    BAN = "ban"
    UNBAN = "unban"
    REJECT = "reject"
    EDIT = "edit"


class EntryKind(StrEnum):
    """The kind of an entry of the moderation queue: reports of users, an image to be reviewed
    before publication, an appeal against a decision, or an image that matched a blocked one."""

    REPORT = "report"
    REVIEW = "review"
    APPEAL = "appeal"
    MATCH = "match"


POST_ACTIONS = frozenset(
    {Action.HIDE, Action.RESTORE, Action.DELETE, Action.PUBLISH, Action.DISMISS}
)
COMMENT_ACTIONS = frozenset({Action.DELETE, Action.DISMISS})
USER_ACTIONS = frozenset({Action.BAN, Action.UNBAN, Action.DELETE, Action.DISMISS})
NEEDS_REASON = frozenset({Action.HIDE, Action.DELETE, Action.BAN})
# Decisions that a user may appeal against.
APPEALABLE = frozenset({Action.HIDE, Action.DELETE, Action.BAN, Action.REJECT, Action.EDIT})
# Actions that leave the state of their subject as it is.
_STATELESS = frozenset({Action.DISMISS, Action.EDIT})
_OUTCOMES = {Action.HIDE: "hidden", Action.DELETE: "deleted"}
DISMISSED = "dismissed"


def outcome_of(action: Action) -> str:
    """The outcome of the entries that this action closes: `hidden`, `deleted` or `dismissed`."""
    return _OUTCOMES.get(action, DISMISSED)


class Subject(NamedTuple):
    """A post (`post_id`), a comment (both ids), or a user."""

    post_id: str | None = None
    comment_id: str | None = None
    user: str | None = None

    @property
    def key(self) -> str:
        """A text that identifies the subject. The key of a comment begins with that of its post."""
        if self.user is not None:
            return f"user:{self.user}"
        return f"post:{self.post_id}" + (f":{self.comment_id}" if self.comment_id else "")

    @property
    def actions(self) -> frozenset[Action]:
        """The actions that admins can take."""
        if self.user is not None:
            return USER_ACTIONS
        return COMMENT_ACTIONS if self.comment_id else POST_ACTIONS


class Report(msgspec.Struct, frozen=True):
    """A report by a user. `outcome` is None while it is open, else `hidden`, `deleted` or
    `dismissed`. `reporter` and `text` are empty once the reporter's account is deleted."""

    id: str
    reporter: str
    post_id: str
    comment_id: str | None
    reason: Reason
    text: str
    created_at: str
    outcome: str | None = None

    @property
    def subject(self) -> Subject:
        """The reported post or comment."""
        return Subject(self.post_id, self.comment_id)


class AlreadyReportedError(Exception):
    """The caller has an open report of the same subject. Stores raise it, with nothing changed."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(report.id)


class Decision(msgspec.Struct, frozen=True):
    """An entry of the log of decisions. `by` is an admin or `THE_SERVICE`; `owner` is the user whom
    it concerns, by their content or account.

    `reason` is a `Reason`, or the failure's code of a `reject`. `until` (RFC 3339) is the end of a
    ban, None for good.
    """

    id: str
    by: str
    action: Action
    post_id: str | None
    comment_id: str | None
    user: str | None
    reason: str | None
    text: str
    until: str | None
    created_at: str
    owner: str = ""

    @property
    def subject(self) -> Subject:
        """The subject of the decision."""
        return Subject(self.post_id, self.comment_id, self.user)

    @property
    def sets_state(self) -> bool:
        """True if the decision changed the state of its subject."""
        return self.action not in _STATELESS


class Appeal(msgspec.Struct, frozen=True):
    """An appeal against a decision. `outcome` is `dismissed`, or None while it is open or was
    granted by another decision."""

    text: str
    created_at: str
    outcome: str | None = None


class AppealedDecision(NamedTuple):
    """A decision, and the appeal against it, if there is one."""

    decision: Decision
    appeal: Appeal | None


class Match(msgspec.Struct, frozen=True):
    """The source of the blocked hash that an image matched: a line of the list, or a decision."""

    line: int | None = None
    decision: str | None = None


class QueueEntry(NamedTuple):
    """An open entry of the moderation queue; `id` is its position, `since` (RFC 3339) the time of
    its first report, review, appeal or match. `latest` has the newest `LATEST_REPORTS` reports."""

    id: str
    kind: EntryKind
    subject: Subject
    since: str
    reports: int = 0
    reasons: dict[str, int] = {}  # noqa: RUF012 - a NamedTuple's default, never changed
    latest: tuple[Report, ...] = ()
    appeal: Appeal | None = None
    match: Match | None = None


class NewEntry(NamedTuple):
    """An entry to open, if the subject has no open one of this kind."""

    id: str
    kind: EntryKind
    since: str
    match: Match | None = None


class ModerationRecords(NamedTuple):
    """Records that a change of a post or comment adds to the log and to the queue."""

    decision: Decision | None = None
    entry: NewEntry | None = None


class DecisionOrder(NamedTuple):
    """A decision as an admin requests it, before any check."""

    subject: Subject
    action: Action
    reason: Reason | None = None
    text: str = ""
    until: str | None = None
    block_image: bool = False

    def checked(self, now_ms: int) -> "DecisionOrder":
        """The order with cleaned texts; raises `ValidationFailedError` that names the field."""
        _check_subject(self.subject)
        if self.action not in self.subject.actions:
            allowed = ", ".join(sorted(self.subject.actions))
            raise invalid("action", f"must be one of {allowed} for this subject")
        if self.reason is None and self.action in NEEDS_REASON:
            raise invalid("reason", f"is required to {self.action}")
        if self.block_image and (self.action is not Action.DELETE or not self.is_about_post):
            raise invalid("block_image", "is only possible with `delete` of a post")
        text = clean("text", self.text, longest=MODERATION_TEXT_CHARACTERS)
        return self._replace(text=text, until=self._checked_until(now_ms))

    @property
    def is_about_post(self) -> bool:
        """True if the subject is a post."""
        return self.subject.post_id is not None and self.subject.comment_id is None

    def _checked_until(self, now_ms: int) -> str | None:
        if self.until is None:
            return None
        if self.action is not Action.BAN:
            raise invalid("until", "is only possible with `ban`")
        until_ms = parse_rfc3339(self.until)
        if until_ms is None or until_ms <= now_ms:
            raise invalid("until", "must be a time in the future, such as 2031-01-31T12:00:00Z")
        return rfc3339(until_ms)


def _check_subject(subject: Subject) -> None:
    if (subject.user is None) == (subject.post_id is None):
        raise invalid("post_id", "is required, or `user`, but not both")
    if subject.user is not None and subject.comment_id is not None:
        raise invalid("comment_id", "needs `post_id`, and no `user`")
    if subject.user == "":
        raise invalid("user", "must not be empty")


def checked_report_text(text: str) -> str:
    """The cleaned text of a report, perhaps empty. Raises `ValidationFailedError`."""
    return clean("text", text, longest=MODERATION_TEXT_CHARACTERS)


def checked_appeal_text(text: str) -> str:
    """The cleaned text of an appeal. Raises `ValidationFailedError`."""
    return clean_required("text", text, longest=MODERATION_TEXT_CHARACTERS)


def admin_action(
    decision_id: str, by: Identity, action: Action, subject: Subject, now_ms: int
) -> Decision | None:
    """The log's entry for what an admin did elsewhere than by a decision; None if `by` is no admin,
    or the service itself. `of_owner` drops it for the admin's own content."""
    if not by.admin or not by.user:
        return None
    ids = (subject.post_id, subject.comment_id, subject.user)
    return Decision(decision_id, by.user, action, *ids, None, "", None, rfc3339(now_ms))


def of_owner(decision: Decision | None, owner: str) -> Decision | None:
    """The decision with its owner; None if there is none, or an admin changed their own content."""
    if decision is None or decision.by == owner:
        return None
    return msgspec.structs.replace(decision, owner=owner)


class SubjectState(NamedTuple):
    """The stored state of a subject, by which a decision is judged.

    `owner` is the user whom the decision concerns; None if the content is not there. `post` is the
    post, if the subject is one. `ban` is the user's ban in force; `is_deleting` is True while the
    user's account is being deleted. `open_kinds` are the kinds of the open entries. `last` is the
    newest decision about the subject, `in_force` the newest that set its state.
    """

    owner: str | None = None
    post: Post | None = None
    ban: Ban | None = None
    is_deleting: bool = False
    open_kinds: frozenset[EntryKind] = frozenset()
    last: Decision | None = None
    in_force: Decision | None = None


class Verdict(NamedTuple):
    """The result of judging a decision: the decision to log, with its owner. If `is_new` is False,
    it is the former decision that this one repeats, and nothing changes. `post` is the post as it
    is to be stored, None if it stays (or is deleted)."""

    decision: Decision
    is_new: bool
    post: Post | None = None


def judge(decision: Decision, state: SubjectState) -> Verdict:
    """Apply a decision to the state of its subject.

    Raises `DecisionConflictError` if the action does not fit the state, and `PostNotFoundError` or
    `CommentNotFoundError` if the content is not there.
    """
    former = _repeated(decision, state)
    if former is not None:
        return Verdict(former, is_new=False)
    if decision.action is not Action.DISMISS and state.owner is None:
        raise CommentNotFoundError if decision.comment_id else PostNotFoundError
    _check_fits(decision.action, state)
    owner = state.owner if state.owner is not None else _former_owner(state)
    return Verdict(
        msgspec.structs.replace(decision, owner=owner), is_new=True, post=_changed(decision, state)
    )


def _repeated(decision: Decision, state: SubjectState) -> Decision | None:
    """The decision that this one repeats; None if it is a new one."""
    if decision.action is Action.DISMISS:
        is_dismissal = state.last is not None and state.last.action is Action.DISMISS
        return state.last if is_dismissal and not _can_dismiss(state) else None
    former = state.in_force
    if former is None or former.action is not decision.action:
        return None
    return former if _is_in_force(decision, former, state) else None


def _is_in_force(decision: Decision, former: Decision, state: SubjectState) -> bool:
    """True if the state is still the one that `former` made, and `decision` would make the same."""
    if decision.user is not None:
        if decision.action is Action.BAN:
            return state.ban is not None and former.until == decision.until
        return state.ban is None if decision.action is Action.UNBAN else state.is_deleting
    if decision.action is Action.DELETE:
        return state.owner is None
    if state.post is None:
        return False
    return state.post.status is (
        PostStatus.HIDDEN if decision.action is Action.HIDE else PostStatus.READY
    )


def closes(action: Action, kind: EntryKind) -> bool:
    """True if a decision closes open entries of this kind. A dismissal leaves a post in review: it
    says nothing about its publication."""
    return action is not Action.DISMISS or kind is not EntryKind.REVIEW


def _can_dismiss(state: SubjectState) -> bool:
    return any(closes(Action.DISMISS, kind) for kind in state.open_kinds)


def _former_owner(state: SubjectState) -> str:
    return "" if state.last is None else state.last.owner


_FROM_STATUS = {Action.HIDE: PostStatus.READY, Action.RESTORE: PostStatus.HIDDEN}


def _check_fits(action: Action, state: SubjectState) -> None:
    """Raises `DecisionConflictError` unless the action fits the state of its subject."""
    if action is Action.DISMISS and not _can_dismiss(state):
        raise DecisionConflictError("This subject has no open report, review or appeal to dismiss.")
    if action is Action.UNBAN and state.ban is None:
        raise DecisionConflictError("This user is not banned, so there is no ban to end.")
    if state.post is None:
        return
    needed = _FROM_STATUS.get(action)
    if needed is not None and state.post.status is not needed:
        raise DecisionConflictError(
            f"To {action} a post it must be `{needed}`. This one is `{state.post.status}`."
        )
    if action is Action.PUBLISH and not is_publishable(state.post):
        raise DecisionConflictError(
            "Only a post in review, or one whose image was rejected, can be published. This one is "
            f"`{state.post.status}`."
        )


def is_publishable(post: Post) -> bool:
    """True if `publish` applies: the post is in review, or failed by a match or the review hook.
    Its renditions are there, withheld."""
    return post.status is not PostStatus.HIDDEN and is_withheld(post) and post.image is not None


_NEW_STATUS = {
    Action.HIDE: PostStatus.HIDDEN,
    Action.RESTORE: PostStatus.READY,
    Action.PUBLISH: PostStatus.READY,
}


def _changed(decision: Decision, state: SubjectState) -> Post | None:
    status = _NEW_STATUS.get(decision.action)
    if state.post is None or status is None:
        return None
    return msgspec.structs.replace(state.post, status=status, failure=msgspec.UNSET)
