"""Reports, decisions and lists, with the shortest words that a test can have.

A *subject* is what a request names: `{"post_id"}`, `{"post_id", "comment_id"}` or `{"user"}`.
"""

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from support import samples
from support.api import Api
from support.waiting import wait_until

ADMIN = "root"
REASONS = (
    *("spam", "nudity", "violence", "hate", "harassment"),
    *("self_harm", "illegal", "copyright", "other"),
)
# Actions that a decision cannot take without a reason.
NEED_REASON = {"hide", "delete", "ban"}
# Far enough for a ban that must not end during a test.
FAR = "2099-01-01T00:00:00.000Z"
Subject = dict[str, str]
Item = dict[str, Any]


def post_subject(post: Item) -> Subject:
    """The subject of requests about this post."""
    return {"post_id": post["id"]}


def comment_subject(comment: Item) -> Subject:
    """The subject of requests about this comment."""
    return {"post_id": comment["post_id"], "comment_id": comment["id"]}


def user_subject(user: str) -> Subject:
    """The subject of requests about this user."""
    return {"user": user}


def new_key() -> dict[str, str]:
    """A header with a fresh idempotency key."""
    return {"idempotency-key": secrets.token_hex(8)}


def in_seconds(seconds: float) -> str:
    """The time in so many seconds, as the API writes times."""
    time = datetime.now(UTC) + timedelta(seconds=seconds)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def send_report(
    api: Api, user: str | None, subject: Subject, reason: str = "spam", **members: Any
) -> httpx.Response:
    """`POST /reports`."""
    headers = members.pop("headers", {})
    body = {**subject, "reason": reason, **members}
    return api.send("POST", "/reports", user, json=body, headers=headers)


def report(api: Api, user: str, subject: Subject, reason: str = "spam", **members: Any) -> Item:
    """A new report."""
    answer = send_report(api, user, subject, reason, **members)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def send_decision(
    api: Api, action: str, subject: Subject, user: str | None = ADMIN, **members: Any
) -> httpx.Response:
    """`POST /moderation/decisions`; with a reason if the action needs one."""
    headers = members.pop("headers", {})
    reason = {"reason": "spam"} if action in NEED_REASON else {}
    body = {**subject, "action": action, **reason, **members}
    return api.send("POST", "/moderation/decisions", user, json=body, headers=headers)


def decide(api: Api, action: str, subject: Subject, **members: Any) -> Item:
    """A new decision of an admin."""
    answer = send_decision(api, action, subject, **members)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def hidden(api: Api, user: str) -> Item:
    """A post as it was when it was ready; it is hidden now."""
    post = api.ready(user)
    decide(api, "hide", post_subject(post))
    return post


def appeal(api: Api, user: str | None, decision_id: str, **parts: Any) -> httpx.Response:
    """`POST /me/decisions/{id}/appeal`."""
    sent = {"json": {"text": "This is art."}, **parts}
    return api.send("POST", f"/me/decisions/{decision_id}/appeal", user, **sent)


def delete_account(api: Api, user: str) -> None:
    """`DELETE /me`, accepted."""
    answer = api.send("DELETE", "/me", user, json={"confirm": user})
    assert answer.status_code == 202, answer.text


def reserve(api: Api, user: str, size: int | None = None, **parts: Any) -> httpx.Response:
    """`POST /posts` as JSON."""
    image = {"size": size or len(samples.jpeg()), "content_type": "image/jpeg"}
    return api.send("POST", "/posts", user, json={"image": image}, **parts)


def items(page: Item) -> list[Item]:
    """The items of a page, however its list is named."""
    (name,) = page.keys() - {"next"}
    return page[name]  # type: ignore[no-any-return]


def pages(api: Api, path: str, user: str | None, **question: Any) -> Iterator[Item]:
    """The pages of a list, from the first to the last."""
    while True:
        answer = api.get(path, user, params=question)
        assert answer.status_code == 200, answer.text
        page: Item = answer.json()
        assert set(page) == {"next", *page}
        yield page
        if page["next"] is None:
            return
        question["cursor"] = page["next"]


def walk(api: Api, path: str, user: str | None, **question: Any) -> list[Item]:
    """The items of all pages of a list."""
    walked: list[Item] = []
    for page in pages(api, path, user, **question):
        assert len(items(page)) <= question.get("limit", 10)
        walked += items(page)
    return walked


def is_about(item: Item, subject: Subject) -> bool:
    """True if a decision of the log is about this subject."""
    if "user" in subject:
        return bool(item["post_id"] is None and item["user"] == subject["user"])
    return bool(
        item["post_id"] == subject["post_id"] and item["comment_id"] == subject.get("comment_id")
    )


def log(api: Api, subject: Subject) -> list[Item]:
    """The decisions about this subject, newest first."""
    entries = walk(api, "/moderation/decisions", ADMIN, limit=100)
    return [entry for entry in entries if is_about(entry, subject)]


def actions(api: Api, subject: Subject) -> list[str]:
    """The actions of the log about this subject, newest first."""
    return [entry["action"] for entry in log(api, subject)]


def subject_of(entry: Item) -> Subject:
    """The subject of an entry of the queue."""
    if entry["user"] is not None:
        return user_subject(entry["user"])
    ids = {"post_id": entry["post_id"], "comment_id": entry["comment_id"]}
    return {name: id_ for name, id_ in ids.items() if id_ is not None}


def queue(api: Api, *subjects: Subject, limit: int = 100) -> list[Item]:
    """The entries of the queue about these subjects, oldest first."""
    entries = walk(api, "/moderation/queue", ADMIN, limit=limit)
    return [entry for entry in entries if subject_of(entry) in subjects]


def kinds(api: Api, subject: Subject) -> list[str]:
    """The kinds of a subject's open entries, oldest first."""
    return [entry["kind"] for entry in queue(api, subject)]


def entry_of(api: Api, subject: Subject, kind: str) -> Item:
    """A subject's only entry of the queue, which is of this kind."""
    api.eventually(lambda: kinds(api, subject), [kind])
    (entry,) = queue(api, subject)
    return entry


def status_as(api: Api, post: Item, user: str | None = None) -> int:
    """The status of the response to `GET /posts/{id}` by this caller."""
    return api.get(f"/posts/{post['id']}", user).status_code


def comment_status(api: Api, post: Item, user: str) -> int:
    """The status of the response to a new comment."""
    path = f"/posts/{post['id']}/comments"
    return api.send("POST", path, user, json={"content": "a comment"}).status_code


def feed_ids(api: Api, **question: Any) -> list[str]:
    """The ids of the first page of the feed."""
    return [post["id"] for post in api.feed(**question)["posts"]]


def answer_after_deletion(send: Callable[[], httpx.Response]) -> httpx.Response:
    """The first response to `send()` that is not 403 `account_deleted`: all data is gone."""

    def other_answer() -> httpx.Response | None:
        answer = send()
        is_deleting = answer.status_code == 403 and answer.json()["code"] == "account_deleted"
        return None if is_deleting else answer

    return wait_until(other_answer, every=0.1, message="the account is still being deleted")


def add_comment(api: Api, post: Item, user: str, **headers: str) -> httpx.Response:
    """A new comment, accepted or refused."""
    path, body = f"/posts/{post['id']}/comments", {"content": "a comment"}
    return api.send("POST", path, user, json=body, headers=headers)


def begin_anew(api: Api, user: str, post: Item) -> Item:
    """The first comment of the name's new account; the end of a test where that takes minutes."""
    if not api.edition.deletes_accounts_soon:
        pytest.skip("the name is free after some minutes: tests/property/test_account_deletions.py")
    answer = answer_after_deletion(lambda: add_comment(api, post, user))
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]
