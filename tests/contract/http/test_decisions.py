"""`POST /moderation/decisions` and the log, `GET /moderation/decisions`."""

import re
from typing import Any

import pytest

from support import samples
from support.api import Api, assert_problem, fields, someone
from support.moderation import (
    ADMIN,
    FAR,
    REASONS,
    Item,
    actions,
    comment_subject,
    decide,
    feed_ids,
    hidden,
    kinds,
    log,
    post_subject,
    report,
    reserve,
    send_decision,
    status_as,
    user_subject,
    walk,
)

UNKNOWN = "01HZZZZZZZZZZZZZZZZZZZZZZZ"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
IMAGE = f"/moderation/images/{UNKNOWN}/600.jpg"
REQUESTS = [
    ("GET", "/moderation/queue", {}),
    ("GET", "/moderation/queue?limit=0", {}),
    ("GET", "/moderation/queue?cursor=x", {}),
    ("GET", "/moderation/decisions", {}),
    ("GET", "/moderation/decisions?limit=0", {}),
    ("POST", "/moderation/decisions", {"json": {}}),
    ("POST", "/moderation/decisions", {"json": {"post_id": UNKNOWN, "action": "hide"}}),
    ("POST", "/moderation/decisions", {"content": b"{"}),
    ("GET", IMAGE, {}),
    ("GET", "/moderation/images/nonsense/7.jpg", {}),
]


@pytest.fixture(scope="module")
def post(api: Api) -> Item:
    """A post about which nobody decides."""
    return api.ready(someone("alice"))


@pytest.mark.parametrize(("method", "path", "sent"), REQUESTS, ids=str)
def test_moderation_needs_an_identity_before_anything_else(
    api: Api, method: str, path: str, sent: dict[str, Any]
) -> None:
    api.assert_identity_required(api.send(method, path, **sent))


@pytest.mark.parametrize(("method", "path", "sent"), REQUESTS, ids=str)
def test_moderation_is_for_admins_whatever_else_is_wrong(
    api: Api, method: str, path: str, sent: dict[str, Any]
) -> None:
    assert_problem(api.send(method, path, someone("mallory"), **sent), 403, "admins_only")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/moderation/decisions", {"GET", "POST"}),
        ("PUT", "/moderation/decisions", {"GET", "POST"}),
        ("PATCH", "/moderation/decisions", {"GET", "POST"}),
        ("POST", "/moderation/queue", {"GET"}),
        ("POST", IMAGE, {"GET"}),
    ],
)
def test_the_log_is_append_only_and_a_wrong_method_is_405(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    answer = api.send(method, path, ADMIN, json={})
    assert_problem(answer, 405, "method_not_allowed")
    assert allowed <= set(re.split(r",\s*", answer.headers["allow"]))


def test_a_decision_is_answered_as_the_log_shows_it(api: Api) -> None:
    subject = post_subject(api.ready(someone("alice")))
    answer = send_decision(api, "hide", subject, reason="hate", text=" No \r\n way ")
    decision = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "private, no-store"
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", decision["id"])
    assert re.fullmatch(TIME, decision["created_at"])
    assert set(decision) == {
        *("id", "by", "action", "post_id", "comment_id", "user"),
        *("reason", "text", "until", "created_at"),
    }
    assert (decision["by"], decision["action"], decision["reason"]) == (ADMIN, "hide", "hate")
    assert (decision["post_id"], decision["comment_id"]) == (subject["post_id"], None)
    assert (decision["text"], decision["until"]) == ("No \n way", None)
    api.eventually(lambda: log(api, subject), [decision])


def test_decisions_about_comments_and_users_name_their_subject(api: Api, post: Item) -> None:
    comment, bob = api.comment(post["id"], someone("carol")), someone("bob")
    deleted = decide(api, "delete", comment_subject(comment))
    assert (deleted["post_id"], deleted["comment_id"]) == (post["id"], comment["id"])
    banned = decide(api, "ban", user_subject(bob), until=FAR)
    assert (banned["post_id"], banned["comment_id"], banned["user"]) == (None, None, bob)
    assert banned["until"] == FAR
    api.eventually(lambda: log(api, user_subject(bob)), [banned])


@pytest.mark.same_code("the list of reasons")
@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_of_a_report_is_one_of_a_decision(api: Api, reason: str) -> None:
    decision = decide(api, "ban", user_subject(someone("bob")), reason=reason)
    assert decision["reason"] == reason


@pytest.mark.parametrize("action", ["hide", "delete", "ban"])
def test_hide_delete_and_ban_need_a_reason(api: Api, post: Item, action: str) -> None:
    subject = user_subject(someone("bob")) if action == "ban" else post_subject(post)
    answer = send_decision(api, action, subject, reason=None)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"reason"}
    assert status_as(api, post) == 200


def test_other_actions_may_have_a_reason(api: Api) -> None:
    subject = post_subject(hidden(api, someone("alice")))
    assert decide(api, "restore", subject, reason="other", text="It is art.")["reason"] == "other"
    decide(api, "hide", subject)
    assert decide(api, "restore", subject)["reason"] is None


@pytest.mark.same_code("rules of a body")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"action": "praise"}, "action"),
        ({"action": None}, "action"),
        ({"action": "ban"}, "action"),
        ({"action": "unban"}, "action"),
        ({"reason": "boring"}, "reason"),
        ({"reason": 7}, "reason"),
        ({"text": 7}, "text"),
        ({"text": "nul\x00"}, "text"),
        ({"text": "x" * 20_000}, "text"),
        ({"comment_id": 7}, "comment_id"),
        ({"block_image": "yes"}, "block_image"),
        ({"until": "tomorrow"}, "until"),
        ({"until": 7}, "until"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_decision_that_breaks_a_rule_names_the_field(
    api: Api, post: Item, changes: dict[str, Any], field: str
) -> None:
    body = {**post_subject(post), "action": "hide", "reason": "spam", **changes}
    answer = api.send("POST", "/moderation/decisions", ADMIN, json=body)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {field}
    assert status_as(api, post) == 200


@pytest.mark.parametrize("action", ["hide", "restore", "publish", "ban", "unban"])
def test_a_comment_can_only_be_deleted_or_dismissed(api: Api, post: Item, action: str) -> None:
    subject = comment_subject(api.comment(post["id"], someone("carol")))
    answer = send_decision(api, action, subject)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"action"}


@pytest.mark.parametrize("action", ["hide", "restore", "publish"])
def test_a_user_is_not_hidden_or_published(api: Api, action: str) -> None:
    answer = send_decision(api, action, user_subject(someone("bob")))
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"action"}


def test_a_decision_has_one_subject(api: Api, post: Item) -> None:
    for subject in (
        {},
        {"comment_id": UNKNOWN},
        {**post_subject(post), "user": someone("bob")},
    ):
        answer = send_decision(api, "delete", subject)
        named = fields(assert_problem(answer, 422, "validation_failed"))
        assert named <= {"post_id", "comment_id", "user", "body"}
    assert status_as(api, post) == 200


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "invalid_json"),
        (
            {"content": b"hide", "headers": {"content-type": "text/plain"}},
            415,
            "unsupported_media_type",
        ),
        ({"json": []}, 422, "validation_failed"),
    ],
    ids=str,
)
def test_a_body_of_another_kind_is_refused(
    api: Api, sent: dict[str, Any], status: int, code: str
) -> None:
    assert_problem(api.send("POST", "/moderation/decisions", ADMIN, **sent), status, code)


def test_a_subject_must_exist(api: Api, post: Item) -> None:
    for post_id in (UNKNOWN, "nonsense"):
        answer = send_decision(api, "hide", {"post_id": post_id})
        assert_problem(answer, 404, "post_not_found")
    for comment_id in (UNKNOWN, "nonsense"):
        subject = {**post_subject(post), "comment_id": comment_id}
        assert_problem(send_decision(api, "delete", subject), 404, "comment_not_found")


def test_deleting_by_decision_removes_everything(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    api.comment(post["id"], someone("bob"))
    decide(api, "delete", post_subject(post))
    assert [status_as(api, post, user) for user in (alice, ADMIN, None)] == [404] * 3
    assert_problem(api.get(f"/posts/{post['id']}/comments"), 404, "post_not_found")
    api.assert_no_image(post["image"]["url"])
    api.assert_no_image(post["image"]["large"]["url"])
    api.eventually(lambda: feed_ids(api, creator=alice), [])


def test_posts_in_any_state_can_be_deleted_by_decision(api: Api) -> None:
    alice = someone("alice")
    failed = api.finished(alice, samples.jpeg()[:300])
    for post in (hidden(api, alice), reserve(api, alice).json(), failed):
        decide(api, "delete", post_subject(post))
        assert_problem(api.get(f"/posts/{post['id']}", alice), 404, "post_not_found")


def test_deleting_a_comment_by_decision_leaves_its_post_and_lowers_the_count(api: Api) -> None:
    post = api.ready(someone("alice"))
    first, second = (api.comment(post["id"], someone("carol")) for _ in range(2))
    api.eventually(lambda: api.total(post["id"]), 2)
    decide(api, "delete", comment_subject(first))
    path = f"/posts/{post['id']}/comments"
    assert_problem(api.get(f"{path}/{first['id']}"), 404, "comment_not_found")
    api.eventually(lambda: api.get(path).json()["comments"], [second])
    api.eventually(lambda: api.total(post["id"]), 1)
    api.eventually(lambda: api.latest(post["id"]), [second])


def test_a_decision_about_a_post_leaves_the_entries_of_its_comments(api: Api) -> None:
    post = api.ready(someone("alice"))
    comment, bob = api.comment(post["id"], someone("carol")), someone("bob")
    for subject in (post_subject(post), comment_subject(comment)):
        report(api, bob, subject)
    api.eventually(lambda: kinds(api, comment_subject(comment)), ["report"])
    decide(api, "dismiss", post_subject(post))
    api.eventually(lambda: kinds(api, post_subject(post)), [])
    assert kinds(api, comment_subject(comment)) == ["report"]


def test_the_log_has_admins_deletions_and_edits_elsewhere(api: Api) -> None:
    alice, carol = someone("alice"), someone("carol")
    post = api.ready(alice)
    comment = api.comment(post["id"], carol)
    path = f"/posts/{post['id']}"
    edit = {"json": {"caption": "better"}}
    assert api.send("PATCH", path, ADMIN, **edit).status_code == 200
    assert api.send("DELETE", f"{path}/comments/{comment['id']}", ADMIN).status_code == 204
    assert api.send("DELETE", path, ADMIN).status_code == 204
    api.eventually(lambda: actions(api, post_subject(post)), ["delete", "edit"])
    api.eventually(lambda: actions(api, comment_subject(comment)), ["delete"])
    assert {entry["by"] for entry in log(api, post_subject(post))} == {ADMIN}


def test_a_retried_deletion_by_an_admin_is_in_the_log_once(api: Api) -> None:
    post = api.ready(someone("alice"))
    for _ in range(2):
        assert api.send("DELETE", f"/posts/{post['id']}", ADMIN).status_code == 204
    api.eventually(lambda: actions(api, post_subject(post)), ["delete"])


def test_the_log_has_nothing_that_creators_did(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    path = f"/posts/{post['id']}"
    assert api.send("PATCH", path, alice, json={"caption": "better"}).status_code == 200
    assert api.send("DELETE", path, alice).status_code == 204
    assert log(api, post_subject(post)) == []


def test_the_log_is_newest_first_and_its_pages_join(api: Api) -> None:
    subject = user_subject(someone("bob"))
    decisions = [decide(api, action, subject) for action in ("ban", "unban", "ban", "unban")]
    api.eventually(lambda: log(api, subject), decisions[::-1])
    first = api.get("/moderation/decisions", ADMIN, params={"limit": 3})
    assert first.headers["cache-control"] == "private, no-store"
    page = first.json()
    rest = {"limit": 100, "cursor": page["next"]}
    joined = page["decisions"] + walk(api, "/moderation/decisions", ADMIN, **rest)
    ids = [entry["id"] for entry in joined]
    assert ids == sorted(set(ids), reverse=True)
    assert joined[:4] == decisions[::-1]
