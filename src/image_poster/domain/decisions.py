"""Decisions: the check of an admin's order, and `judge`, which applies a decision to the state of
its subject."""

from typing import NamedTuple

import msgspec

from image_poster.domain.accounts import Ban, check_user_name
from image_poster.domain.errors import (
    CommentNotFoundError,
    DecisionConflictError,
    PostNotFoundError,
    invalid,
)
from image_poster.domain.ids import parse_rfc3339, rfc3339
from image_poster.domain.limits import MODERATION_TEXT_CHARACTERS, clean
from image_poster.domain.moderation import (
    NEEDS_REASON,
    Action,
    Decision,
    EntryKind,
    Reason,
    Subject,
)
from image_poster.domain.posts import Post, PostStatus, is_withheld


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
            raise invalid("reason", f"is required for `{self.action}`")
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
        raise invalid("post_id", "is required, unless `user` is present. Send only one of them")
    if subject.user is not None and subject.comment_id is not None:
        raise invalid("comment_id", "is only possible with `post_id`, not with `user`")
    if subject.user is not None:
        check_user_name(subject.user)


NO_HASH = (
    "This image cannot be compared with others, so it cannot be blocked. Delete the post without "
    "`block_image`."
)


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
    """The result of judging a decision. `decision` is the one to log, with its owner. If `is_new`
    is False, it is the former decision that this one repeats, and nothing changes. `post` is the
    changed post to store; None if the post stays as it is, or is deleted."""

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
    """True if the state is still the result of `former`, and `decision` has the same result."""
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
