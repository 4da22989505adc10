"""The lists of the caller's own data below `/me`, which a user can take along."""

import re
from functools import partial
from urllib.parse import quote

import httpx
import pytest

from support import samples
from support.api import Api, assert_problem, fields, someone
from support.moderation import (
    ADMIN,
    Item,
    comment_subject,
    decide,
    hidden,
    items,
    post_subject,
    report,
    reserve,
    user_subject,
    walk,
)
from support.waiting import wait_for_value

LISTS = {
    "/me/posts": "posts",
    "/me/comments": "comments",
    "/me/reports": "reports",
    "/me/blocks": "blocks",
    "/me/decisions": "decisions",
    "/me/feed": "posts",
}


@pytest.fixture(scope="module")
def user_with_lists(api: Api) -> str:
    """A user with two items in each list; the feed has many."""
    user = someone("alice")
    for _ in range(2):
        other = api.ready(someone("bob"))
        comment = api.comment(other["id"], user)
        report(api, user, post_subject(other))
        assert api.send("PUT", f"/me/blocks/{quote(someone())}", user).status_code == 204
        decide(api, "delete", comment_subject(comment))
        api.comment(other["id"], user)
        hidden(api, user)
        api.ready(someone("carol"))
    return user


def first_page(api: Api, path: str, user: str) -> Item:
    answer = api.get(path, user, params={"limit": 1})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def has_items(api: Api, path: str, user: str) -> bool:
    """True if a page has items: of the own feed, pages may be empty."""
    return bool(walk(api, path, user, limit=100))


@pytest.mark.parametrize("path", LISTS)
def test_a_list_below_me_needs_an_identity_before_anything_else(api: Api, path: str) -> None:
    for question in ("", "?limit=0", "?cursor=x", "?status=none"):
        api.assert_identity_required(api.get(path + question))


@pytest.mark.parametrize("path", LISTS)
def test_no_cache_keeps_a_list_below_me(api: Api, path: str) -> None:
    answer = api.get(path, someone("bob"))
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {LISTS[path], "next"}
    if path != "/me/feed":
        assert answer.json() == {LISTS[path]: [], "next": None}


@pytest.mark.parametrize("path", LISTS)
def test_an_anonymous_caller_is_refused_without_leaving_it_in_a_cache(api: Api, path: str) -> None:
    assert "max-age" not in api.get(path).headers.get("cache-control", "no-store")


@pytest.mark.same_code("rules of a query")
@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["0", "101", "-1", "ten", ""])
def test_a_limit_outside_1_to_100_is_named(api: Api, path: str, limit: str) -> None:
    answer = api.get(path, someone("bob"), params={"limit": limit})
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"limit"}


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_is_signed_and_belongs_to_its_user_and_list(
    api: Api, user_with_lists: str, path: str
) -> None:
    user = user_with_lists
    api.eventually(lambda: bool(first_page(api, path, user)["next"]), expected=True)
    cursor = first_page(api, path, user)["next"]
    for at in range(0, len(cursor) - 1, 7):
        forged = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
        answer = api.get(path, user, params={"cursor": forged})
        assert_problem(answer, 400, "invalid_cursor")
    for other in LISTS.keys() - {path}:
        answer = api.get(other, user, params={"cursor": cursor})
        assert_problem(answer, 400, "invalid_cursor")
    if path != "/me/feed":  # which shows everyone the same posts, less some
        answer = api.get(path, someone("bob"), params={"cursor": cursor})
        assert_problem(answer, 400, "invalid_cursor")


@pytest.mark.same_code("rules of a query")
@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "=" * 9, "A" * 10_000, "\x00"])
def test_a_forged_cursor_is_refused(api: Api, path: str, cursor: str) -> None:
    answer = api.get(path, someone("bob"), params={"cursor": cursor})
    assert_problem(answer, 400, "invalid_cursor")


@pytest.mark.parametrize("path", LISTS)
def test_a_wrong_method_is_405(api: Api, path: str) -> None:
    answer = api.send("PATCH", path, someone("bob"), json={})
    assert_problem(answer, 405, "method_not_allowed")
    assert "GET" in re.split(r",\s*", answer.headers["allow"])


@pytest.mark.same_code("rules of a query")
@pytest.mark.parametrize("status", ["none", "", "READY"])
def test_an_unknown_status_is_named(api: Api, status: str) -> None:
    answer = api.get("/me/posts", someone("bob"), params={"status": status})
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"status"}


def test_a_user_who_was_banned_keeps_all_lists(api: Api, user_with_lists: str) -> None:
    decide(api, "ban", user_subject(user_with_lists))
    for path in LISTS:
        api.eventually(partial(has_items, api, path, user_with_lists), expected=True)


def test_own_comments_can_be_taken_along(api: Api) -> None:
    bob = someone("bob")
    posts = [api.ready(someone("alice")) for _ in range(2)]
    comments = [api.comment(posts[number % 2]["id"], bob, str(number)) for number in range(5)]
    api.comment(posts[0]["id"], someone("carol"))
    api.eventually(lambda: walk(api, "/me/comments", bob), comments[::-1])
    assert walk(api, "/me/comments", bob, limit=2) == comments[::-1]
    edited = api.send(
        "PATCH", f"/posts/{posts[0]['id']}/comments/{comments[0]['id']}", bob, json={"content": "x"}
    ).json()
    assert api.send(
        "DELETE", f"/posts/{posts[1]['id']}/comments/{comments[1]['id']}", bob
    ).is_success
    expected = [comments[4], comments[3], comments[2], edited]
    api.eventually(lambda: walk(api, "/me/comments", bob), expected)


def test_comments_on_a_deleted_post_are_no_longer_among_ones_own(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = api.ready(alice)
    api.comment(post["id"], bob)
    api.eventually(lambda: len(walk(api, "/me/comments", bob)), 1)
    assert api.send("DELETE", f"/posts/{post['id']}", alice).status_code == 204
    wait_for_value(lambda: len(walk(api, "/me/comments", bob)), 0)


def test_own_posts_of_any_status_can_be_taken_along(api: Api) -> None:
    alice, image = someone("alice"), samples.jpeg()
    ready = api.ready(alice, image)
    awaiting = reserve(api, alice).json()
    failed = api.finished(alice, samples.jpeg()[:300])
    hidden_post = hidden(api, alice)
    expected = [
        (hidden_post["id"], "hidden"),
        (failed["id"], "failed"),
        (awaiting["id"], "awaiting_upload"),
        (ready["id"], "ready"),
    ]

    def own(**question: str | int) -> list[tuple[str, str]]:
        posts = walk(api, "/me/posts", alice, **question)
        return [(post["id"], post["status"]) for post in posts]

    api.eventually(own, expected)
    assert own(limit=1) == expected
    for post_id, status in expected:
        assert own(status=status) == [(post_id, status)]
    assert own(status="unfinished") == expected[1:3]
    assert own(status="processing") == own(status="in_review") == []
    for post in (ready, hidden_post):
        original = api.get(f"/posts/{post['id']}/original", alice)
        assert original.status_code == 200
    assert api.get(f"/posts/{ready['id']}/original", alice).content == image


def test_own_posts_have_the_fields_that_their_creator_needs(api: Api) -> None:
    alice = someone("alice")
    ready = api.ready(alice, caption="mine")
    api.comment(ready["id"], someone("bob"))
    api.eventually(lambda: api.total(ready["id"]), 1)
    awaiting = reserve(api, alice).json()
    failed = api.finished(alice, samples.jpeg()[:300])
    api.eventually(lambda: len(walk(api, "/me/posts", alice)), 3)
    shown = {post["id"]: post for post in walk(api, "/me/posts", alice)}
    assert shown[failed["id"]]["failure"]["code"] == "image_unreadable"
    assert shown[awaiting["id"]]["upload"]["put"]["url"]
    assert shown[ready["id"]] == api.get(f"/posts/{ready['id']}", alice).json()
    for post in shown.values():
        assert "moderation" not in post or post["moderation"] is None


@pytest.mark.parametrize("user", [None, "alice", ADMIN])
def test_the_former_path_of_unfinished_posts_leads_below_me(api: Api, user: str | None) -> None:
    question = {"status": "unfinished", "limit": "7"}
    answer = api.get("/posts", user, params=question)
    assert answer.status_code == 308
    location = httpx.URL(api.url).join(answer.headers["location"])
    assert location.path == "/me/posts"
    assert dict(location.params) == question


def test_the_former_path_with_another_status_names_it(api: Api) -> None:
    assert_problem(api.get("/posts", params={"status": "ready"}), 422, "validation_failed")


def test_a_page_of_a_list_has_at_most_limit_items(api: Api) -> None:
    alice = someone("alice")
    for _ in range(3):
        reserve(api, alice)
    api.eventually(lambda: len(walk(api, "/me/posts", alice)), 3)
    page = api.get("/me/posts", alice, params={"limit": 2}).json()
    assert len(items(page)) == 2
    assert page["next"]
