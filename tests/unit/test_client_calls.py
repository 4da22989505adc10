"""Calls of the client about moderation and accounts: requests, results, errors."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from image_poster.client import (
    AsyncImagePosterClient,
    CommentResult,
    ImagePosterClient,
    PostResult,
    RefusedError,
    UserBannedError,
)
from image_poster.client.transport import Route

TIME = "2026-11-30T12:00:00.000Z"
COMMENT = {
    "id": "01C",
    "post_id": "01P",
    "creator": "bob",
    "creator_name": "Bob",
    "content": "Bad.",
    "created_at": TIME,
    "edited_at": None,
}
POST: dict[str, Any] = {
    "id": "01P",
    "status": "ready",
    "caption": "",
    "alt": "",
    "creator": "alice",
    "creator_name": "Alice",
    "created_at": TIME,
    "edited_at": None,
    "image": None,
    "total_comments": 0,
    "latest_comments": [],
}
REPORT = {
    "id": "01R",
    "post_id": "01P",
    "comment_id": None,
    "reason": "spam",
    "text": "",
    "created_at": TIME,
    "status": "open",
    "outcome": None,
}
DECISION = {
    "id": "01D",
    "by": "root",
    "action": "hide",
    "post_id": "01P",
    "comment_id": None,
    "user": None,
    "reason": "spam",
    "text": "",
    "until": None,
    "created_at": TIME,
}
APPEAL = {"text": "This is art.", "created_at": TIME}
ENTRY: dict[str, Any] = {
    "kind": "report",
    "post_id": "01P",
    "comment_id": None,
    "post": POST,
    "comment": None,
    "user": None,
    "reports": 1,
    "reasons": {"spam": 1},
    "latest": [{"reporter": "bob", "reason": "spam", "text": "", "created_at": TIME}],
    "appeal": None,
    "match": None,
    "since": TIME,
}
Answers = Callable[[httpx.Request], httpx.Response]


def use(monkeypatch: pytest.MonkeyPatch, answer: Answers) -> ImagePosterClient:
    """A client whose requests go to `answer`; so do those of any later client."""
    options = {"base_url": "http://x", "transport": httpx.MockTransport(answer)}
    monkeypatch.setattr(Route, "options", options)
    return ImagePosterClient("http://x", "alice")


def page(name: str, *items: object, cursor: str | None = None) -> dict[str, object]:
    return {name: list(items), "next": cursor}


@pytest.mark.parametrize(
    ("call", "arguments", "request_line", "body", "answer"),
    [
        ("me", {}, "GET /me", None, {"user": "alice", "name": "Alice", "admin": False}),
        (
            "report",
            {"post_id": "01P", "reason": "spam"},
            "POST /reports",
            {"post_id": "01P", "reason": "spam"},
            REPORT,
        ),
        (
            "report",
            {"post_id": "01P", "reason": "hate", "comment_id": "01C", "text": "There."},
            "POST /reports",
            {"post_id": "01P", "comment_id": "01C", "reason": "hate", "text": "There."},
            REPORT,
        ),
        ("reports", {}, "GET /me/reports?limit=10", None, page("reports", REPORT)),
        ("block", {"user": "bob/é?"}, "PUT /me/blocks/bob%2F%C3%A9%3F", None, None),
        ("unblock", {"user": ".."}, "DELETE /me/blocks/%2E%2E", None, None),
        (
            "blocks",
            {"limit": 3, "cursor": "c/1"},
            "GET /me/blocks?limit=3&cursor=c%2F1",
            None,
            page("blocks", {"user": "bob", "created_at": TIME}),
        ),
        ("my_feed", {"sort": "new"}, "GET /me/feed?sort=new&limit=10", None, page("posts", POST)),
        ("my_posts", {}, "GET /me/posts?limit=10", None, page("posts", POST)),
        (
            "my_posts",
            {"status": "hidden"},
            "GET /me/posts?status=hidden&limit=10",
            None,
            page("posts", {**POST, "status": "hidden"}, {**POST, "status": "in_review"}),
        ),
        ("unfinished", {}, "GET /me/posts?status=unfinished&limit=10", None, page("posts")),
        ("my_comments", {}, "GET /me/comments?limit=10", None, page("comments", COMMENT)),
        (
            "my_decisions",
            {},
            "GET /me/decisions?limit=10",
            None,
            page("decisions", {**DECISION, "appeal": {**APPEAL, "outcome": "dismissed"}}),
        ),
        (
            "appeal",
            {"decision_id": "01D", "text": "This is art."},
            "POST /me/decisions/01D/appeal",
            {"text": "This is art."},
            APPEAL,
        ),
        ("delete_account", {"confirm": "alice"}, "DELETE /me", {"confirm": "alice"}, None),
        ("moderation_queue", {}, "GET /moderation/queue?limit=10", None, page("entries", ENTRY)),
        (
            "decide",
            {"action": "hide", "subject": "01P", "reason": "spam"},
            "POST /moderation/decisions",
            {"action": "hide", "post_id": "01P", "reason": "spam"},
            DECISION,
        ),
        (
            "decide",
            {"action": "delete", "subject": "01P", "reason": "spam", "block_image": True},
            "POST /moderation/decisions",
            {"action": "delete", "post_id": "01P", "reason": "spam", "block_image": True},
            DECISION,
        ),
        (
            "decide",
            {"action": "dismiss", "subject": "01P/01C"},
            "POST /moderation/decisions",
            {"action": "dismiss", "post_id": "01P", "comment_id": "01C"},
            DECISION,
        ),
        (
            "decide",
            {"action": "ban", "subject": "user:b/o:b", "reason": "spam", "until": TIME},
            "POST /moderation/decisions",
            {"action": "ban", "user": "b/o:b", "reason": "spam", "until": TIME},
            DECISION,
        ),
        ("decisions", {}, "GET /moderation/decisions?limit=10", None, page("decisions", DECISION)),
    ],
)
def test_each_call_sends_its_request_and_returns_the_answer(
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    arguments: dict[str, Any],
    request_line: str,
    body: dict[str, Any] | None,
    answer: dict[str, Any] | None,
) -> None:
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=answer) if answer else httpx.Response(204)

    client = use(monkeypatch, respond)
    result = getattr(client, call)(**arguments)
    (request,) = requests
    assert f"{request.method} {request.url.raw_path.decode()}" == request_line
    sent = b"".join(request.stream)  # type: ignore[arg-type]
    assert (json.loads(sent) if sent else None) == body
    assert request.headers["user-id"] == "alice"
    assert ("idempotency-key" in request.headers) == (request.method == "POST")
    if answer is None:
        assert result is None
    else:
        assert_holds(result, answer)


def assert_holds(result: object, answer: Any) -> None:
    """A result has every member of the answer, at any depth."""
    if isinstance(answer, dict) and not isinstance(result, dict):
        for name, member in answer.items():
            assert_holds(getattr(result, name), member)
    elif isinstance(answer, list):
        assert isinstance(result, list)
        for item, member in zip(result, answer, strict=True):
            assert_holds(item, member)
    else:
        assert result == answer


def test_a_call_with_an_idempotency_key_sends_it_and_else_each_call_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        return httpx.Response(201, json=REPORT)

    client = use(monkeypatch, respond)
    client.report("01P", "spam", idempotency_key="mine")
    client.report("01P", "spam")
    client.report("01P", "spam")
    assert keys[0] == "mine"
    assert len(set(keys)) == 3


@pytest.mark.parametrize("subject", ["", "user:", "01P/", "/01C", "01P/01C/x", "../me", "01P?x=1"])
def test_a_subject_that_is_none_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    client = use(monkeypatch, lambda _: pytest.fail("a request was sent"))
    with pytest.raises(ValueError, match="is no POST_ID, POST_ID/COMMENT_ID or user:NAME"):
        client.decide("dismiss", subject)


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({}, "01P"),
        ({"comment_id": "01C", "comment": COMMENT}, "01P/01C"),
        ({"post_id": None, "post": None, "user": "bob", "kind": "appeal"}, "user:bob"),
        ({"post": None}, "01P"),
        ({"comment_id": "01C", "post": None}, "01P/01C"),
    ],
)
def test_the_subject_of_an_entry_is_that_of_a_decision(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], subject: str
) -> None:
    entries = page("entries", {**ENTRY, **changes})
    client = use(monkeypatch, lambda _: httpx.Response(200, json=entries))
    (entry,) = client.moderation_queue().entries
    assert entry.subject == subject


def test_the_decision_about_a_hidden_post_is_in_the_post(monkeypatch: pytest.MonkeyPatch) -> None:
    decision = {
        "id": "01D",
        "action": "hide",
        "reason": "spam",
        "text": "An advertisement.",
        "created_at": TIME,
        "appeal": None,
    }
    hidden = {**POST, "status": "hidden", "moderation": decision}
    client = use(monkeypatch, lambda _: httpx.Response(200, json=hidden))
    post = client.show("01P")
    assert post.status == "hidden"
    assert post.moderation is not None
    assert (post.moderation.id, post.moderation.text) == ("01D", "An advertisement.")


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (
            {"reason": "spam", "until": TIME},
            f"You are banned. The ban for spam is until {TIME}. (banned)",
        ),
        (
            {"reason": None, "until": None},
            "You are banned. The ban is without an end. (banned)",
        ),
    ],
)
def test_a_ban_has_its_reason_and_its_end(
    monkeypatch: pytest.MonkeyPatch, members: dict[str, Any], sentence: str
) -> None:
    problem = {"code": "banned", "detail": "You are banned.", **members}
    client = use(monkeypatch, lambda _: httpx.Response(403, json=problem))
    with pytest.raises(UserBannedError) as refusal:
        client.comment("01P", "Hello")
    assert isinstance(refusal.value, RefusedError)
    assert (refusal.value.status, refusal.value.code) == (403, "banned")
    assert (refusal.value.reason, refusal.value.until) == (members["reason"], members["until"])
    assert str(refusal.value) == sentence


def three_pages(request: httpx.Request) -> httpx.Response:
    """Three pages of two comments, one and none."""
    assert request.url.params["limit"] == "2"
    contents, cursor = {
        "": (("a", "b"), "1"),
        "1": (("c",), "2"),
        "2": ((), None),
    }[request.url.params.get("cursor", "")]
    items = [{**COMMENT, "content": content} for content in contents]
    return httpx.Response(200, json=page("comments", *items, cursor=cursor))


def test_both_clients_iterate_over_all_pages_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    client = use(monkeypatch, three_pages)

    async def contents() -> list[str]:
        async with AsyncImagePosterClient("http://x", "alice") as other:
            return [item.content async for item in other.iterate(other.my_comments, limit=2)]

    assert [item.content for item in client.iterate(client.my_comments, limit=2)] == ["a", "b", "c"]
    assert asyncio.run(contents()) == ["a", "b", "c"]


def test_an_iteration_may_begin_at_a_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    client = use(monkeypatch, three_pages)
    items: list[CommentResult] = list(client.iterate(client.my_comments, limit=2, cursor="1"))
    assert [item.content for item in items] == ["c"]


def test_the_items_of_a_page_are_its_list(monkeypatch: pytest.MonkeyPatch) -> None:
    client = use(monkeypatch, lambda _: httpx.Response(200, json=page("posts", POST)))
    feed = client.my_feed()
    posts: list[PostResult] = feed.items
    assert posts == feed.posts
