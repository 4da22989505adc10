"""Decisions that repeat one in force, do not fit their subject's state, or are replayed."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from support import samples
from support.api import Api, assert_problem, someone
from support.moderation import (
    FAR,
    Item,
    Subject,
    actions,
    comment_subject,
    decide,
    hidden,
    log,
    new_key,
    post_subject,
    report,
    reserve,
    send_decision,
    status_as,
    user_subject,
)


def assert_in_force(api: Api, action: str, subject: Subject, decision: Item) -> None:
    """Repeating the decision returns it and adds nothing to the log."""
    before = len(log(api, subject))
    answer = send_decision(api, action, subject)
    assert (answer.status_code, answer.json()) == (200, decision), answer.text
    assert len(log(api, subject)) == before


@pytest.fixture(scope="module")
def post(api: Api) -> Item:
    """A post about which nobody decides."""
    return api.ready(someone("alice"))


@pytest.mark.parametrize("action", ["hide", "delete"])
def test_repeating_a_posts_decision_in_force_adds_nothing(api: Api, action: str) -> None:
    subject = post_subject(api.ready(someone("alice")))
    assert_in_force(api, action, subject, decide(api, action, subject))


def test_repeating_any_decision_in_force_adds_nothing(api: Api, post: Item) -> None:
    comment = comment_subject(api.comment(post["id"], someone("carol")))
    assert_in_force(api, "delete", comment, decide(api, "delete", comment))
    restored = post_subject(hidden(api, someone("alice")))
    assert_in_force(api, "restore", restored, decide(api, "restore", restored))
    user = user_subject(someone("bob"))
    assert_in_force(api, "ban", user, decide(api, "ban", user))
    assert_in_force(api, "unban", user, decide(api, "unban", user))
    reported = post_subject(api.ready(someone("alice")))
    report(api, someone("bob"), reported)
    assert_in_force(api, "dismiss", reported, decide(api, "dismiss", reported))


def test_the_same_decision_at_once_is_one(api: Api) -> None:
    subject = post_subject(api.ready(someone("alice")))

    def send(_: int) -> tuple[int, str]:
        with Api(api.url, api.edition) as own:
            answer = send_decision(own, "hide", subject)
        return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(4) as pool:
        statuses, ids = zip(*pool.map(send, range(8)), strict=True)
    assert (statuses.count(201), statuses.count(200)) == (1, 7)
    assert len(set(ids)) == 1
    assert actions(api, subject) == ["hide"]


def test_a_ban_with_another_end_is_a_new_decision(api: Api) -> None:
    subject = user_subject(someone("bob"))
    ends = [None, FAR, "2098-01-01T00:00:00.000Z"]
    for until in ends:
        assert decide(api, "ban", subject, until=until)["until"] == until
    assert send_decision(api, "ban", subject, until=ends[-1]).status_code == 200
    api.eventually(lambda: [entry["until"] for entry in log(api, subject)], ends[::-1])


def test_an_action_that_does_not_fit_the_state_is_a_conflict(api: Api, post: Item) -> None:
    alice = someone("alice")
    awaiting = post_subject(reserve(api, alice).json())
    failed = post_subject(api.finished(alice, samples.jpeg()[:300]))
    ready = post_subject(post)
    for action, subject in (
        ("restore", ready),
        ("publish", ready),
        ("publish", awaiting),
        ("hide", awaiting),
        ("publish", failed),
        ("hide", failed),
        ("publish", post_subject(hidden(api, alice))),
        ("unban", user_subject(alice)),
    ):
        answer = send_decision(api, action, subject)
        assert_problem(answer, 409, "decision_conflict")
        assert action not in actions(api, subject)


def test_dismissing_needs_an_open_entry(api: Api, post: Item) -> None:
    comment = api.comment(post["id"], someone("carol"))
    subjects = (post_subject(post), comment_subject(comment), user_subject(someone("bob")))
    for subject in subjects:
        assert_problem(send_decision(api, "dismiss", subject), 409, "decision_conflict")
        assert log(api, subject) == []


def test_a_dismissal_before_the_last_decision_is_not_in_force(api: Api) -> None:
    subject = post_subject(api.ready(someone("alice")))
    report(api, someone("bob"), subject)
    decide(api, "dismiss", subject)
    decide(api, "hide", subject)
    assert_problem(send_decision(api, "dismiss", subject), 409, "decision_conflict")
    assert actions(api, subject) == ["hide", "dismiss"]


def test_a_deleted_post_can_only_be_deleted_again(api: Api) -> None:
    subject = post_subject(api.ready(someone("alice")))
    decide(api, "delete", subject)
    for action in ("hide", "restore", "publish"):
        assert_problem(send_decision(api, action, subject), 404, "post_not_found")
    assert actions(api, subject) == ["delete"]


def test_a_replayed_decision_is_made_once(api: Api) -> None:
    subject, key = post_subject(api.ready(someone("alice"))), new_key()
    first = send_decision(api, "hide", subject, headers=key)
    decide(api, "restore", subject)
    replayed = send_decision(api, "hide", subject, headers=key)
    assert (first.status_code, replayed.status_code) == (201, 201)
    assert replayed.content == first.content
    assert replayed.headers["idempotent-replayed"] == "true"
    assert actions(api, subject) == ["restore", "hide"]
    other = send_decision(api, "hide", subject, reason="hate", headers=key)
    assert_problem(other, 422, "idempotency_key_reused")


def test_replaying_a_hide_after_its_restoration_takes_no_image_away(api: Api) -> None:
    post, key = api.ready(someone("alice")), new_key()
    send_decision(api, "hide", post_subject(post), headers=key)
    decide(api, "restore", post_subject(post))
    assert send_decision(api, "hide", post_subject(post), headers=key).status_code == 201
    assert status_as(api, post) == 200
    assert api.get(post["image"]["url"]).status_code == 200


def test_a_refused_decision_leaves_its_key_unused(api: Api) -> None:
    subject, key = post_subject(api.ready(someone("alice"))), new_key()
    assert send_decision(api, "restore", subject, headers=key).status_code == 409
    decide(api, "hide", subject)
    assert send_decision(api, "restore", subject, headers=key).status_code == 201
