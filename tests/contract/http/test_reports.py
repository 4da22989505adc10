"""`POST /reports` and `GET /me/reports`."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.api import LOCAL, Api, assert_problem, fields, someone
from support.moderation import (
    REASONS,
    Item,
    Subject,
    comment_subject,
    decide,
    entry_of,
    hidden,
    kinds,
    new_key,
    post_subject,
    queue,
    report,
    reserve,
    send_report,
    user_subject,
    walk,
)
from support.servers import local_server

UNKNOWN = "01HZZZZZZZZZZZZZZZZZZZZZZZ"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(scope="module")
def post(api: Api) -> Item:
    """A post that stays ready."""
    return api.ready(someone("alice"))


@pytest.fixture(scope="module")
def comment(api: Api, post: Item) -> Item:
    """A comment that stays."""
    return api.comment(post["id"], someone("carol"))


def reports_of(api: Api, user: str) -> list[Item]:
    return walk(api, "/me/reports", user)


def outcomes(api: Api, user: str) -> list[tuple[str, str | None]]:
    return [(item["status"], item["outcome"]) for item in reports_of(api, user)]


def test_a_report_names_its_subject_and_is_open(api: Api, post: Item) -> None:
    subject = post_subject(post)
    answer = send_report(api, someone("bob"), subject, "nudity", text=" Look \r\n here ")
    assert answer.status_code == 201
    body = answer.json()
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", body["id"])
    assert re.fullmatch(TIME, body["created_at"])
    assert body == {
        "id": body["id"],
        "post_id": post["id"],
        "comment_id": None,
        "reason": "nudity",
        "text": "Look \n here",
        "created_at": body["created_at"],
        "status": "open",
        "outcome": None,
    }


def test_a_report_of_a_comment_names_both(api: Api, comment: Item) -> None:
    body = report(api, someone("bob"), comment_subject(comment), "hate")
    assert (body["post_id"], body["comment_id"]) == (comment["post_id"], comment["id"])
    assert not body["text"]


@pytest.mark.same_code("the list of reasons")
@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_accepted(api: Api, post: Item, reason: str) -> None:
    assert report(api, someone("bob"), post_subject(post), reason)["reason"] == reason


@pytest.mark.same_code("rules of a text")
def test_a_text_has_at_most_1000_characters_not_bytes(api: Api, post: Item) -> None:
    longest = "🌊" * 1000
    assert report(api, someone("bob"), post_subject(post), text=longest)["text"] == longest
    answer = send_report(api, someone("bob"), post_subject(post), text=longest + "x")
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"text"}


@pytest.mark.same_code("rules of a body")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"post_id": None}, "post_id"),
        ({"post_id": 7}, "post_id"),
        ({"comment_id": 7}, "comment_id"),
        ({"reason": "boring"}, "reason"),
        ({"reason": None}, "reason"),
        ({"reason": ["spam"]}, "reason"),
        ({"text": 7}, "text"),
        ({"text": "nul\x00"}, "text"),
    ],
    ids=str,
)
def test_a_body_that_breaks_a_rule_names_the_field(
    api: Api, post: Item, changes: dict[str, Any], field: str
) -> None:
    answer = send_report(api, someone("bob"), post_subject(post), **changes)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {field}


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "invalid_json"),
        (
            {"content": b"spam", "headers": {"content-type": "text/plain"}},
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
    assert_problem(api.send("POST", "/reports", someone("bob"), **sent), status, code)


def test_a_member_that_is_missing_is_named(api: Api, post: Item) -> None:
    for body, field in (({"reason": "spam"}, "post_id"), (post_subject(post), "reason")):
        answer = api.send("POST", "/reports", someone("bob"), json=body)
        assert fields(assert_problem(answer, 422, "validation_failed")) == {field}


def test_a_report_needs_an_identity_before_anything_else(api: Api, post: Item) -> None:
    for body in ({}, {"post_id": UNKNOWN, "reason": "spam"}, post_subject(post)):
        api.assert_identity_required(api.send("POST", "/reports", json=body))
    api.assert_identity_required(api.get("/me/reports"))


@pytest.mark.parametrize("post_id", [UNKNOWN, "nonsense", ""])
def test_a_post_that_does_not_exist_cannot_be_reported(api: Api, post_id: str) -> None:
    answer = send_report(api, someone("bob"), {"post_id": post_id})
    assert_problem(answer, 404, "post_not_found")


def test_a_post_that_the_caller_cannot_see_cannot_be_reported(api: Api) -> None:
    alice = someone("alice")
    deleted = api.ready(alice)
    assert api.send("DELETE", f"/posts/{deleted['id']}", alice).status_code == 204
    for unseen in (hidden(api, alice), reserve(api, alice).json(), deleted):
        answer = send_report(api, someone("bob"), post_subject(unseen))
        assert_problem(answer, 404, "post_not_found")


def test_a_comment_must_be_one_of_the_post(api: Api, post: Item, comment: Item) -> None:
    other = api.ready(someone("alice"))
    for subject in (
        {**post_subject(post), "comment_id": UNKNOWN},
        {**post_subject(post), "comment_id": "nonsense"},
        {**post_subject(other), "comment_id": comment["id"]},
    ):
        assert_problem(send_report(api, someone("bob"), subject), 404, "comment_not_found")


def test_nobody_reports_their_own_content(api: Api, post: Item, comment: Item) -> None:
    own_post = send_report(api, post["creator"], post_subject(post))
    assert fields(assert_problem(own_post, 422, "validation_failed")) == {"post_id"}
    own_comment = send_report(api, comment["creator"], comment_subject(comment))
    assert fields(assert_problem(own_comment, 422, "validation_failed")) == {"comment_id"}


def test_a_creator_reports_a_comment_on_their_own_post(api: Api, post: Item, comment: Item) -> None:
    assert report(api, post["creator"], comment_subject(comment))["status"] == "open"


def test_the_second_report_of_a_subject_returns_the_first(api: Api) -> None:
    post, bob = api.ready(someone("alice")), someone("bob")
    comment = api.comment(post["id"], someone("carol"))
    for subject in (post_subject(post), comment_subject(comment)):
        first = report(api, bob, subject, text="first")
        second = send_report(api, bob, subject, "hate", text="second")
        assert (second.status_code, second.json()) == (200, first)
        assert entry_of(api, subject, "report")["reports"] == 1
    assert len(reports_of(api, bob)) == 2


def test_many_reports_at_once_are_one(api: Api) -> None:
    post, bob = api.ready(someone("alice")), someone("bob")

    def send(_: int) -> tuple[int, str]:
        with Api(api.url, api.edition) as own:
            answer = send_report(own, bob, post_subject(post))
        return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(6) as pool:
        statuses, ids = zip(*pool.map(send, range(12)), strict=True)
    assert (statuses.count(201), statuses.count(200)) == (1, 11)
    assert len(set(ids)) == 1
    assert entry_of(api, post_subject(post), "report")["reports"] == 1


def test_reports_of_two_callers_are_two(api: Api) -> None:
    subject = post_subject(api.ready(someone("alice")))
    first, second = (report(api, someone("bob"), subject) for _ in range(2))
    assert first["id"] != second["id"]
    api.eventually(lambda: [entry["reports"] for entry in queue(api, subject)], [2])


def test_a_report_after_the_first_was_closed_is_a_new_one(api: Api) -> None:
    subject, bob = post_subject(api.ready(someone("alice"))), someone("bob")
    first = report(api, bob, subject)
    decide(api, "dismiss", subject)
    second = report(api, bob, subject)
    assert second["id"] != first["id"]
    api.eventually(lambda: outcomes(api, bob), [("open", None), ("closed", "dismissed")])
    assert entry_of(api, subject, "report")["reports"] == 1


@pytest.mark.parametrize(
    ("action", "outcome"), [("hide", "hidden"), ("delete", "deleted"), ("dismiss", "dismissed")]
)
def test_the_outcome_is_that_of_the_decision(api: Api, action: str, outcome: str) -> None:
    subject, bob = post_subject(api.ready(someone("alice"))), someone("bob")
    first = report(api, bob, subject, text="the text stays")
    api.eventually(lambda: reports_of(api, bob), [first])
    decide(api, action, subject)
    closed = {**first, "status": "closed", "outcome": outcome}
    api.eventually(lambda: reports_of(api, bob), [closed])


def test_the_outcome_of_a_comments_report_is_that_of_its_own_decision(api: Api) -> None:
    post, bob = api.ready(someone("alice")), someone("bob")
    deleted, dismissed = (
        comment_subject(api.comment(post["id"], someone("carol"))) for _ in range(2)
    )
    for subject in (deleted, dismissed, post_subject(post)):
        report(api, bob, subject)
    decide(api, "delete", deleted)
    decide(api, "dismiss", dismissed)
    expected = [("open", None), ("closed", "dismissed"), ("closed", "deleted")]
    api.eventually(lambda: outcomes(api, bob), expected)


def test_restoring_a_post_changes_no_outcome(api: Api) -> None:
    subject, bob = post_subject(api.ready(someone("alice"))), someone("bob")
    report(api, bob, subject)
    decide(api, "hide", subject)
    decide(api, "restore", subject)
    api.eventually(lambda: outcomes(api, bob), [("closed", "hidden")])


def test_a_ban_of_its_creator_leaves_a_posts_report_open(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    subject = post_subject(api.ready(alice))
    report(api, bob, subject)
    decide(api, "ban", user_subject(alice))
    api.eventually(lambda: kinds(api, subject), ["report"])
    assert outcomes(api, bob) == [("open", None)]


@pytest.mark.parametrize("deleter", ["creator", "admin"])
def test_content_that_is_deleted_elsewhere_leaves_the_queue(api: Api, deleter: str) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = api.ready(alice)
    comment = api.comment(post["id"], alice)
    subjects: list[Subject] = [post_subject(post), comment_subject(comment)]
    for subject in subjects:
        report(api, bob, subject)
    api.eventually(lambda: len(queue(api, *subjects)), 2)
    user = alice if deleter == "creator" else "root"
    for path in (f"/posts/{post['id']}/comments/{comment['id']}", f"/posts/{post['id']}"):
        assert api.send("DELETE", path, user).status_code == 204
    api.eventually(lambda: queue(api, *subjects), [])
    api.eventually(lambda: outcomes(api, bob), [("closed", "deleted")] * 2)


def test_own_reports_are_listed_newest_first_and_are_nobody_elses(api: Api, post: Item) -> None:
    bob = someone("bob")
    comments = [api.comment(post["id"], someone("carol")) for _ in range(4)]
    reports = [report(api, bob, comment_subject(comment)) for comment in comments]
    api.eventually(lambda: reports_of(api, bob), reports[::-1])
    assert walk(api, "/me/reports", bob, limit=3) == reports[::-1]
    assert reports_of(api, someone("carol")) == []
    assert api.get("/me/reports", bob).headers["cache-control"] == "no-store"


def test_a_replayed_report_is_one_report(api: Api) -> None:
    subject, bob, key = post_subject(api.ready(someone("alice"))), someone("bob"), new_key()
    first = send_report(api, bob, subject, headers=key)
    decide(api, "dismiss", subject)
    replayed = send_report(api, bob, subject, headers=key)
    assert (first.status_code, replayed.status_code) == (201, 201)
    assert replayed.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert replayed.headers["idempotent-replayed"] == "true"
    assert len(reports_of(api, bob)) == 1
    other = send_report(api, bob, subject, "hate", headers=key)
    assert_problem(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize("action", ["hide", "delete"])
def test_a_lost_answer_is_replayed_though_the_post_is_gone(api: Api, action: str) -> None:
    """The report was stored; its retry is not told that the post is unknown."""
    subject, bob, key = post_subject(api.ready(someone("alice"))), someone("bob"), new_key()
    first = send_report(api, bob, subject, headers=key)
    decide(api, action, subject)
    replayed = send_report(api, bob, subject, headers=key)
    assert (replayed.status_code, replayed.content) == (201, first.content)
    assert replayed.headers["idempotent-replayed"] == "true"


def test_a_refused_report_leaves_its_key_unused(api: Api, post: Item) -> None:
    bob, key = someone("bob"), new_key()
    assert send_report(api, bob, post_subject(post), "boring", headers=key).status_code == 422
    assert send_report(api, bob, post_subject(post), headers=key).status_code == 201


@pytest.fixture
def few_writes(tmp_path: Path) -> Iterator[Api]:
    flags = ("--writes-per-minute", "1")
    with local_server(tmp_path, *flags) as server, Api(server.url, LOCAL) as api:
        yield api


def test_a_report_counts_as_a_write(few_writes: Api) -> None:
    """The same code counts all writes in both editions."""
    post, bob = few_writes.ready(someone("alice")), someone("bob")
    report(few_writes, bob, post_subject(post))
    assert_problem(send_report(few_writes, bob, post_subject(post)), 429, "rate_limited")


def test_the_limits_of_reports_and_blocks_are_listed(api: Api) -> None:
    limits = api.get("/limits").json()
    assert limits["report"]["max_characters"] == 1000
    assert limits["blocks_max"] == 1000


def test_the_operators_rules_and_contact_are_in_the_limits(tmp_path: Path) -> None:
    flags = ("--rules-url", "https://photos.example/rules", "--contact", "abuse@photos.example")
    with local_server(tmp_path, *flags) as server, Api(server.url, LOCAL) as api:
        limits = api.get("/limits").json()
    assert limits["rules_url"] == "https://photos.example/rules"
    assert limits["contact"] == "abuse@photos.example"
