"""`GET /me/decisions` and `POST /me/decisions/{id}/appeal`."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.api import Api, assert_problem, fields, someone
from support.moderation import (
    ADMIN,
    FAR,
    Item,
    Subject,
    appeal,
    comment_subject,
    decide,
    entry_of,
    hidden,
    kinds,
    new_key,
    post_subject,
    queue,
    send_decision,
    user_subject,
    walk,
)

UNKNOWN = "01HZZZZZZZZZZZZZZZZZZZZZZZ"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def decisions_of(api: Api, user: str) -> list[Item]:
    return walk(api, "/me/decisions", user)


def last_decision(api: Api, user: str, action: str) -> Item:
    """The newest decision about the user's content and account, which is this action."""

    def newest_action() -> str:
        return next((str(item["action"]) for item in decisions_of(api, user)), "")

    api.eventually(newest_action, action)
    return decisions_of(api, user)[0]


def hidden_with_decision(api: Api, user: str) -> tuple[Item, Item]:
    """A hidden post, and the decision."""
    post = hidden(api, user)
    return post, last_decision(api, user, "hide")


def without_appeal(decision: Item) -> Item:
    """A decision as the log has it."""
    return {name: value for name, value in decision.items() if name != "appeal"}


def moderation(api: Api, post: Item, user: str) -> Item:
    """The creator's view of the decision."""
    body: Item = api.get(f"/posts/{post['id']}", user).json()["moderation"]
    return body


def test_decisions_about_the_callers_content_and_account_are_listed_newest_first(
    api: Api,
) -> None:
    carol = someone("carol")
    post = api.ready(carol)
    comment = api.comment(post["id"], carol)
    edit = {"json": {"caption": "better"}}
    assert api.send("PATCH", f"/posts/{post['id']}", ADMIN, **edit).status_code == 200
    decisions = [
        decide(api, "delete", comment_subject(comment), text="the comment"),
        decide(api, "hide", post_subject(post), text="the post"),
        decide(api, "restore", post_subject(post)),
        decide(api, "ban", user_subject(carol), until=FAR),
    ]
    expected = [{**decision, "appeal": None} for decision in decisions[::-1]]
    api.eventually(lambda: decisions_of(api, carol)[:4], expected)
    actions = [decision["action"] for decision in decisions_of(api, carol)]
    assert actions == ["ban", "restore", "hide", "delete", "edit"]


def test_they_are_the_callers_own_and_no_cache_keeps_them(api: Api) -> None:
    alice = someone("alice")
    hidden_with_decision(api, alice)
    assert decisions_of(api, someone("bob")) == []
    assert api.get("/me/decisions", alice).headers["cache-control"] == "no-store"
    api.assert_identity_required(api.get("/me/decisions"))


def test_pages_of_them_join(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    for action in ("hide", "restore", "hide", "restore", "hide"):
        decide(api, action, post_subject(post))
    api.eventually(lambda: len(decisions_of(api, alice)), 5)
    assert walk(api, "/me/decisions", alice, limit=2) == decisions_of(api, alice)


def test_a_decision_stays_listed_when_its_post_was_deleted(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    decide(api, "delete", post_subject(post))
    assert last_decision(api, alice, "delete")["post_id"] == post["id"]


def test_an_appeal_is_made_once_per_decision(api: Api) -> None:
    alice = someone("alice")
    post, decision = hidden_with_decision(api, alice)
    answer = appeal(api, alice, decision["id"], json={"text": " It is \r\n art. "})
    assert answer.status_code == 201
    body = answer.json()
    assert body == {"text": "It is \n art.", "created_at": body["created_at"]}
    assert re.fullmatch(TIME, body["created_at"])
    again = appeal(api, alice, decision["id"], json={"text": "Really."})
    assert_problem(again, 409, "appeal_made")
    expected = {**body, "outcome": None}
    api.eventually(lambda: decisions_of(api, alice)[0]["appeal"], expected)
    assert moderation(api, post, alice)["appeal"] == expected


def test_many_appeals_at_once_are_one(api: Api) -> None:
    alice = someone("alice")
    post, decision = hidden_with_decision(api, alice)

    def send(_: int) -> int:
        with Api(api.url, api.edition) as own:
            return appeal(own, alice, decision["id"]).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(send, range(4))) == [201, 409, 409, 409]
    api.eventually(lambda: kinds(api, post_subject(post)), ["appeal"])


def test_an_appeal_is_an_entry_of_the_queue(api: Api) -> None:
    alice = someone("alice")
    post, decision = hidden_with_decision(api, alice)
    body = appeal(api, alice, decision["id"]).json()
    entry = entry_of(api, post_subject(post), "appeal")
    assert entry["appeal"] == {**body, "decision": without_appeal(decision)}
    assert (entry["post_id"], entry["post"]["id"]) == (post["id"], post["id"])
    assert entry["post"]["image"]["url"] == f"/moderation/images/{post['id']}/600.jpg"
    assert (entry["comment"], entry["match"]) == (None, None)
    assert (entry["reports"], entry["reasons"], entry["latest"]) == (0, {}, [])
    assert entry["since"] == body["created_at"]


def test_an_appeal_against_a_ban_is_an_entry_about_the_user(api: Api) -> None:
    bob = someone("bob")
    decide(api, "ban", user_subject(bob))
    decision = last_decision(api, bob, "ban")
    assert appeal(api, bob, decision["id"]).status_code == 201
    entry = entry_of(api, user_subject(bob), "appeal")
    assert (entry["user"], entry["post"], entry["comment"]) == (bob, None, None)
    assert (entry["post_id"], entry["comment_id"]) == (None, None)
    assert entry["appeal"]["decision"] == without_appeal(decision)
    decide(api, "unban", user_subject(bob))
    api.eventually(lambda: kinds(api, user_subject(bob)), [])


def test_dismissing_closes_an_appeal_with_that_outcome(api: Api) -> None:
    alice = someone("alice")
    post, decision = hidden_with_decision(api, alice)
    body = appeal(api, alice, decision["id"]).json()
    decide(api, "dismiss", post_subject(post), text="It stays hidden.")
    expected = {**body, "outcome": "dismissed"}
    assert moderation(api, post, alice)["appeal"] == expected
    assert moderation(api, post, alice)["action"] == "hide"
    api.eventually(lambda: kinds(api, post_subject(post)), [])
    appeals = {item["id"]: item["appeal"] for item in decisions_of(api, alice)}
    assert appeals[decision["id"]] == expected
    assert_problem(appeal(api, alice, decision["id"]), 409, "appeal_made")


def test_dismissing_the_appeal_against_a_ban_leaves_the_ban(api: Api) -> None:
    bob = someone("bob")
    decide(api, "ban", user_subject(bob))
    decision = last_decision(api, bob, "ban")
    appeal(api, bob, decision["id"])
    decide(api, "dismiss", user_subject(bob))
    appeals = {item["id"]: item["appeal"] for item in decisions_of(api, bob)}
    assert appeals[decision["id"]]["outcome"] == "dismissed"
    assert send_decision(api, "unban", user_subject(bob)).status_code == 201


def test_restoring_closes_an_appeal_that_was_right(api: Api) -> None:
    alice = someone("alice")
    post, decision = hidden_with_decision(api, alice)
    appeal(api, alice, decision["id"])
    api.eventually(lambda: kinds(api, post_subject(post)), ["appeal"])
    decide(api, "restore", post_subject(post))
    api.eventually(lambda: kinds(api, post_subject(post)), [])
    appeals = {item["id"]: item["appeal"] for item in decisions_of(api, alice)}
    assert appeals[decision["id"]]["outcome"] is None


def test_each_decision_has_an_appeal_of_its_own(api: Api) -> None:
    alice = someone("alice")
    post, first = hidden_with_decision(api, alice)
    assert appeal(api, alice, first["id"]).status_code == 201
    decide(api, "restore", post_subject(post))
    decide(api, "hide", post_subject(post))
    second = last_decision(api, alice, "hide")
    assert second["id"] != first["id"]
    assert moderation(api, post, alice)["appeal"] is None
    assert appeal(api, alice, second["id"]).status_code == 201


def test_the_deletion_of_a_comment_may_be_appealed(api: Api) -> None:
    carol = someone("carol")
    comment = api.comment(api.ready(someone("alice"))["id"], carol)
    decide(api, "delete", comment_subject(comment))
    decision = last_decision(api, carol, "delete")
    answer = appeal(api, carol, decision["id"], json={"text": "Why?"})
    assert answer.status_code == 201
    entry = entry_of(api, comment_subject(comment), "appeal")
    assert entry["appeal"]["text"] == "Why?"
    assert entry["appeal"]["decision"] == without_appeal(decision)
    assert (entry["post"]["id"], entry["comment"]) == (comment["post_id"], None)
    decide(api, "dismiss", comment_subject(comment), text="It was an insult.")
    assert queue(api, comment_subject(comment)) == []
    appeals = {item["id"]: item["appeal"] for item in decisions_of(api, carol)}
    assert appeals[decision["id"]]["outcome"] == "dismissed"


def test_an_appeal_about_a_deleted_post_names_it_and_can_be_dismissed(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    decide(api, "delete", post_subject(post), reason="hate")
    decision = last_decision(api, alice, "delete")
    assert appeal(api, alice, decision["id"]).status_code == 201
    entry = entry_of(api, post_subject(post), "appeal")
    assert (entry["post_id"], entry["comment_id"]) == (post["id"], None)
    assert (entry["post"], entry["comment"], entry["user"]) == (None, None, None)
    assert entry["appeal"]["decision"]["reason"] == "hate"
    decide(api, "dismiss", post_subject(post))
    assert queue(api, post_subject(post)) == []


def test_only_the_creator_appeals_and_only_a_decision(api: Api) -> None:
    alice = someone("alice")
    post, decision = hidden_with_decision(api, alice)
    for user in (someone("bob"), ADMIN):
        assert_problem(appeal(api, user, decision["id"]), 404, "decision_not_found")
    for decision_id in (UNKNOWN, "nonsense", post["id"]):
        assert_problem(appeal(api, alice, decision_id), 404, "decision_not_found")
    api.assert_identity_required(appeal(api, None, decision["id"]))
    api.assert_identity_required(appeal(api, None, "nonsense", json=[]))
    assert queue(api, post_subject(post)) == []


@pytest.mark.same_code("rules of a text")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ([], "body"),
        ({"text": ""}, "text"),
        ({"text": " \n\u200b "}, "text"),
        ({"text": 7}, "text"),
        ({"text": None}, "text"),
        ({"text": "nul\x00"}, "text"),
        ({"text": "x" * 20_000}, "text"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_appeal_that_breaks_a_rule_names_the_field(api: Api, body: object, field: str) -> None:
    alice = someone("alice")
    _, decision = hidden_with_decision(api, alice)
    answer = appeal(api, alice, decision["id"], json=body)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {field}
    assert decisions_of(api, alice)[0]["appeal"] is None


def test_a_replayed_appeal_is_made_once(api: Api) -> None:
    alice, key = someone("alice"), new_key()
    post, decision = hidden_with_decision(api, alice)
    first = appeal(api, alice, decision["id"], headers=key)
    replayed = appeal(api, alice, decision["id"], headers=key)
    assert (first.status_code, replayed.status_code) == (201, 201)
    assert replayed.content == first.content
    assert replayed.headers["idempotent-replayed"] == "true"
    other: dict[str, Any] = {"json": {"text": "Other words."}, "headers": key}
    assert_problem(appeal(api, alice, decision["id"], **other), 422, "idempotency_key_reused")
    api.eventually(lambda: kinds(api, post_subject(post)), ["appeal"])


def test_appeals_about_a_post_and_about_its_creator_are_two_entries(api: Api) -> None:
    """A decision about the post closes the first only."""
    alice = someone("alice")
    post = hidden(api, alice)
    decide(api, "ban", user_subject(alice))
    last_decision(api, alice, "ban")
    for decision in decisions_of(api, alice):
        assert appeal(api, alice, decision["id"]).status_code == 201
    subjects: list[Subject] = [user_subject(alice), post_subject(post)]
    api.eventually(lambda: len(queue(api, *subjects)), 2)
    decide(api, "restore", post_subject(post))
    api.eventually(lambda: kinds(api, post_subject(post)), [])
    assert kinds(api, user_subject(alice)) == ["appeal"]
