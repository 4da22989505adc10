"""The pure rules of decisions: which action fits which state, and what repeats a decision."""

from typing import Any

import pytest

from image_poster.domain.accounts import Ban, Standing, check_may_write
from image_poster.domain.decisions import DecisionOrder, SubjectState, judge
from image_poster.domain.errors import (
    AccountDeletedError,
    BannedError,
    CommentNotFoundError,
    DecisionConflictError,
    PostNotFoundError,
    ValidationFailedError,
)
from image_poster.domain.images import RenderedImage, Size
from image_poster.domain.moderation import Action, Decision, EntryKind, Reason, Subject
from image_poster.domain.posts import (
    IMAGE_BLOCKED,
    PROCESSING_FAILED,
    Post,
    PostStatus,
    failed_post,
    published_post,
    rejected_post,
)

_POST_ID = "01KB3V6Q8Z0000000000000000"
_RENDERED = RenderedImage(Size(600, 600), Size(1600, 1200), "hash")
_PROCESSING = Post(
    id=_POST_ID,
    status=PostStatus.PROCESSING,
    caption="",
    alt="",
    creator="alice",
    created_at="2026-11-30T12:00:00.000Z",
)
_READY = published_post(_PROCESSING, _RENDERED)
_IN_REVIEW = published_post(_PROCESSING, _RENDERED, PostStatus.IN_REVIEW)
_BLOCKED = rejected_post(_PROCESSING, _RENDERED, IMAGE_BLOCKED)


def decision(action: Action, number: int = 1, **about: Any) -> Decision:
    subject = about or {"post_id": _POST_ID}
    members = {"post_id": None, "comment_id": None, "user": None, "until": None, **subject}
    return Decision(
        id=f"decision {number}",
        by="root",
        action=action,
        reason=Reason.SPAM,
        text="",
        created_at="2026-11-30T12:00:00.000Z",
        **members,
    )


def state(post: Post | None = _READY, **more: Any) -> SubjectState:
    return SubjectState(owner="alice" if post else None, post=post, **more)


def hidden() -> SubjectState:
    hide = decision(Action.HIDE, 7)
    post = judge(hide, state()).post
    return state(post, last=hide, in_force=hide)


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        (Action.HIDE, _READY, PostStatus.HIDDEN),
        (Action.PUBLISH, _IN_REVIEW, PostStatus.READY),
        (Action.PUBLISH, _BLOCKED, PostStatus.READY),
    ],
)
def test_an_action_that_fits_changes_the_status(
    action: Action, before: Post, after: PostStatus
) -> None:
    verdict = judge(decision(action), state(before))
    assert verdict.is_new
    assert verdict.decision.owner == "alice"
    assert verdict.post is not None
    assert verdict.post.status is after
    assert verdict.post.image == _READY.image


def test_restore_brings_the_post_back_as_it_was() -> None:
    assert judge(decision(Action.RESTORE), hidden()).post == _READY


@pytest.mark.parametrize(
    ("action", "post"),
    [
        (Action.HIDE, _PROCESSING),
        (Action.HIDE, _IN_REVIEW),
        (Action.RESTORE, _READY),
        (Action.PUBLISH, _PROCESSING),
        (Action.PUBLISH, _READY),
        (Action.PUBLISH, failed_post(_PROCESSING, PROCESSING_FAILED)),
        (Action.DISMISS, _READY),
    ],
)
def test_an_action_that_does_not_fit_is_a_conflict(action: Action, post: Post) -> None:
    with pytest.raises(DecisionConflictError):
        judge(decision(action), state(post))


def test_content_that_is_not_there_cannot_be_decided_about() -> None:
    with pytest.raises(PostNotFoundError):
        judge(decision(Action.DELETE), SubjectState())
    with pytest.raises(CommentNotFoundError):
        judge(decision(Action.DELETE, post_id=_POST_ID, comment_id=_POST_ID), SubjectState())


def test_repeating_the_decision_in_force_returns_it() -> None:
    before = hidden()
    verdict = judge(decision(Action.HIDE, 8), before)
    assert (verdict.is_new, verdict.decision.id, verdict.post) == (False, "decision 7", None)


def test_a_decision_that_another_one_ended_is_not_repeated() -> None:
    hide, restore = decision(Action.HIDE, 1), decision(Action.RESTORE, 2)
    restored = state(_READY, last=restore, in_force=restore)
    assert judge(decision(Action.HIDE, 3), restored).is_new
    assert judge(decision(Action.RESTORE, 3), restored).decision is restore
    with pytest.raises(DecisionConflictError):
        judge(decision(Action.RESTORE, 3), state(_READY, last=hide, in_force=hide))


def test_a_deletion_is_repeated_once_its_content_is_gone() -> None:
    former = decision(Action.DELETE, 1)
    gone = SubjectState(last=former, in_force=former)
    assert judge(decision(Action.DELETE, 2), gone).decision is former


def test_a_dismissal_needs_an_open_entry_or_repeats_the_last_one() -> None:
    opened = state(open_kinds=frozenset({EntryKind.REPORT}))
    assert judge(decision(Action.DISMISS), opened).is_new
    former = decision(Action.DISMISS, 1)
    assert judge(decision(Action.DISMISS, 2), state(last=former)).decision is former


def test_a_dismissal_does_not_publish_a_post_in_review() -> None:
    in_review = state(_IN_REVIEW, open_kinds=frozenset({EntryKind.REVIEW}))
    with pytest.raises(DecisionConflictError):
        judge(decision(Action.DISMISS), in_review)


def test_a_ban_with_another_end_is_a_new_decision() -> None:
    first = decision(Action.BAN, 1, user="bob", until="2031-01-01T00:00:00.000Z")
    banned = SubjectState(owner="bob", ban=Ban("spam", 1, first.id), last=first, in_force=first)
    same = decision(Action.BAN, 2, user="bob", until="2031-01-01T00:00:00.000Z")
    assert judge(same, banned).decision is first
    assert judge(decision(Action.BAN, 2, user="bob"), banned).is_new


def test_only_a_banned_user_can_be_unbanned() -> None:
    with pytest.raises(DecisionConflictError):
        judge(decision(Action.UNBAN, user="bob"), SubjectState(owner="bob"))


def order(action: Action, **more: Any) -> DecisionOrder:
    return DecisionOrder(more.pop("subject", Subject(_POST_ID)), action, **more)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (order(Action.HIDE), "reason"),
        (order(Action.BAN, reason=Reason.SPAM), "action"),
        (order(Action.REJECT, reason=Reason.SPAM), "action"),
        (order(Action.EDIT), "action"),
        (order(Action.HIDE, reason=Reason.SPAM, until="2031-01-01T00:00:00Z"), "until"),
        (order(Action.HIDE, reason=Reason.SPAM, block_image=True), "block_image"),
        (order(Action.HIDE, subject=Subject(), reason=Reason.SPAM), "post_id"),
        (order(Action.BAN, subject=Subject(_POST_ID, user="bob")), "post_id"),
        (order(Action.BAN, subject=Subject(comment_id=_POST_ID, user="bob")), "comment_id"),
        (order(Action.BAN, subject=Subject(user="")), "user"),
        (order(Action.DISMISS, text="x" * 1001), "text"),
        *(
            (order(Action.BAN, subject=Subject(user="b"), reason=Reason.HATE, until=until), "until")
            for until in ("soon", "2031-01-01", "2031-01-01T00:00:00", "1999-01-01T00:00:00Z")
        ),
    ],
)
def test_a_wrong_order_names_its_field(wrong: DecisionOrder, field: str) -> None:
    with pytest.raises(ValidationFailedError) as caught:
        wrong.checked(now_ms=1_764_500_000_000)
    assert [error.field for error in caught.value.errors] == [field]


def test_the_end_of_a_ban_is_stored_in_utc() -> None:
    ban = order(Action.BAN, subject=Subject(user="b"), reason=Reason.HATE)
    checked = ban._replace(until="2031-01-01T02:00:00+02:00").checked(now_ms=0)
    assert checked.until == "2031-01-01T00:00:00.000Z"


def test_a_ban_forbids_writes_until_it_is_over() -> None:
    standing = Standing(Ban("spam", 2_000, "decision 1"))
    with pytest.raises(BannedError) as caught:
        check_may_write(standing, 1_999)
    assert (caught.value.reason, caught.value.until) == ("spam", "1970-01-01T00:00:02.000Z")
    check_may_write(standing, 1_999, while_banned=True)
    check_may_write(standing, 2_000)


def test_an_account_that_is_being_deleted_accepts_no_write() -> None:
    with pytest.raises(AccountDeletedError):
        check_may_write(Standing(is_deleting=True), 0, while_banned=True)
