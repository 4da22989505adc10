"""Reports of posts and comments, decisions about posts, comments and users, and appeals.

A subject is a post, a comment or a user. The moderation queue has at most one open entry for each
subject and kind. A decision about the subject closes all its open entries, whatever their number. A
report belongs to an entry, and is open as long as that entry is.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.limits import MODERATION_TEXT_CHARACTERS, clean, clean_required

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
    """The kind of an entry of the moderation queue. Its cause is reports by users, an image to
    review before publication, an appeal, or an image that matches a blocked one."""

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
# Actions that do not change the status of a post, the existence of a comment, or a user's standing.
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
    its first report, review, appeal or match. `latest` has the newest `LATEST_REPORTS` reports;
    `appealed` is the decision that `appeal` is against."""

    id: str
    kind: EntryKind
    subject: Subject
    since: str
    reports: int = 0
    reasons: dict[str, int] = {}  # noqa: RUF012 - a NamedTuple's default, never changed
    latest: tuple[Report, ...] = ()
    appeal: Appeal | None = None
    match: Match | None = None
    appealed: Decision | None = None


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


def checked_report_text(text: str) -> str:
    """The cleaned text of a report, perhaps empty. Raises `ValidationFailedError`."""
    return clean("text", text, longest=MODERATION_TEXT_CHARACTERS)


def checked_appeal_text(text: str) -> str:
    """The cleaned text of an appeal. Raises `ValidationFailedError`."""
    return clean_required("text", text, longest=MODERATION_TEXT_CHARACTERS)


def admin_action(
    decision_id: str, by: Identity, action: Action, subject: Subject, now_ms: int
) -> Decision | None:
    """The log's entry for an admin's edit or deletion by the usual endpoints; None if `by` is no
    admin, or the service itself. `of_owner` drops it for the admin's own content."""
    if not by.admin or not by.user:
        return None
    ids = (subject.post_id, subject.comment_id, subject.user)
    return Decision(decision_id, by.user, action, *ids, None, "", None, rfc3339(now_ms))


def of_owner(decision: Decision | None, owner: str) -> Decision | None:
    """The decision with its owner; None if there is none, or an admin changed their own content."""
    if decision is None or decision.by == owner:
        return None
    return msgspec.structs.replace(decision, owner=owner)
