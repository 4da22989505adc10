"""The name of a deleted account: refused until all data is gone, then new.

Late retries revive nothing.
"""

import socket
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

import httpx
import pytest

from support import samples
from support.api import Api, assert_problem, someone
from support.moderation import (
    Item,
    add_comment,
    answer_after_deletion,
    begin_anew,
    delete_account,
    hidden,
    new_key,
    post_subject,
    report,
    reserve,
    send_report,
    status_as,
    walk,
)
from support.waiting import wait_for_value

LISTS = ("/me/posts", "/me/comments", "/me/reports", "/me/blocks")


def problem_code_of(send: Callable[[], httpx.Response]) -> str:
    """The code of a problem; empty for a success."""
    answer = send()
    return "" if answer.is_success else str(answer.json()["code"])


WRITES: dict[str, Callable[[Api, str, Item], httpx.Response]] = {
    "post": lambda api, user, _: api.upload(user),
    "reservation": lambda api, user, _: reserve(api, user),
    "comment": lambda api, user, post: add_comment(api, post, user),
    "report": lambda api, user, post: send_report(api, user, post_subject(post)),
    "block": lambda api, user, _: api.send("PUT", "/me/blocks/bob", user),
}


@pytest.mark.where(deletes_accounts_soon=True)
@pytest.mark.parametrize("kind", WRITES)
def test_writes_are_refused_until_all_data_is_gone(api: Api, kind: str) -> None:
    """The deletion of little data may have ended before the next request."""
    alice, other = someone("alice"), api.ready(someone("bob"))
    api.ready(alice)
    delete_account(api, alice)
    answer = WRITES[kind](api, alice, other)
    if answer.status_code == 403:
        assert_problem(answer, 403, "account_deleted")
    anew = answer_after_deletion(lambda: WRITES[kind](api, alice, other))
    assert anew.status_code in {200, 201, 204}


@pytest.mark.where(deletes_accounts_soon=True)
def test_a_body_that_outlasts_the_deletion_makes_no_post(api: Api) -> None:
    """Its request was identified before the deletion, and ends when the name has begun anew."""
    alice, address = someone("alice"), urlsplit(api.url)
    part = 'form-data; name="image"; filename="photo.jpg"'
    body = f"--b\r\nContent-Disposition: {part}\r\n\r\n".encode() + samples.jpeg()
    body += b"\r\n--b--\r\n"
    head = (
        f"POST /posts HTTP/1.1\r\nHost: {address.netloc}\r\nuser-id: {alice}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(head.encode() + body[:500])
        delete_account(api, alice)
        answer = answer_after_deletion(lambda: api.send("PUT", "/me/blocks/nobody", alice))
        assert answer.status_code == 204
        connection.sendall(body[500:])
        answered = connection.makefile("rb").read()
    assert answered.startswith(b"HTTP/1.1 403")
    assert b"account_deleted" in answered
    assert api.get("/me/posts", alice).json()["posts"] == []
    assert api.ready(alice)["creator"] == alice


def test_a_user_without_any_data_can_be_deleted(api: Api) -> None:
    bob = someone("bob")
    delete_account(api, bob)
    begin_anew(api, bob, api.ready(someone("alice")))


def test_the_same_name_begins_anew_with_nothing(api: Api) -> None:
    bob = someone("bob")
    post = api.ready(someone("alice"))
    comment = api.comment(post["id"], bob)
    mine = api.ready(bob)
    report(api, bob, post_subject(post))
    assert api.send("PUT", "/me/blocks/mallory", bob).status_code == 204
    hidden(api, bob)
    delete_account(api, bob)
    anew = begin_anew(api, bob, post)
    assert anew["id"] != comment["id"]
    api.eventually(lambda: [len(walk(api, path, bob)) for path in LISTS], [0, 1, 0, 0])
    assert status_as(api, mine, bob) == 404
    # A report of the former account hides no post from the new one.
    posts = walk(api, "/me/feed", bob, creator=post["creator"])
    assert [item["id"] for item in posts] == [post["id"]]
    again = api.ready(bob)
    assert [item["id"] for item in walk(api, "/me/posts", bob)] == [again["id"]]


def test_a_block_ends_with_the_account_that_made_it(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    by_bob = api.ready(bob)
    assert api.send("PUT", f"/me/blocks/{bob}", alice).status_code == 204
    api.eventually(lambda: add_comment(api, by_bob, alice).status_code, 403)
    delete_account(api, alice)
    begin_anew(api, alice, by_bob)


@pytest.mark.where(deletes_accounts_soon=True)
def test_a_late_retry_returns_410_and_revives_nothing(api: Api) -> None:
    bob = someone("bob")
    post = api.ready(someone("alice"))
    comment_key, post_key, upload_key = (new_key() for _ in range(3))
    files = {"image": samples.jpeg()}
    requests: list[Callable[[], httpx.Response]] = [
        lambda: add_comment(api, post, bob, **comment_key),
        lambda: api.send("POST", "/posts", bob, files=files, headers=post_key),
        lambda: reserve(api, bob, headers=upload_key),
    ]
    for send in requests:
        assert send().status_code == 201
    delete_account(api, bob)
    for send in requests:
        wait_for_value(partial(problem_code_of, send), "gone")
    assert walk(api, "/me/posts", bob) == []
    assert api.get(f"/posts/{post['id']}/comments").json()["comments"] == []
    wait_for_value(lambda: api.total(post["id"]), 0)


@pytest.mark.where(deletes_accounts_soon=True)
def test_a_late_retry_of_a_report_returns_410(api: Api) -> None:
    bob, key = someone("bob"), new_key()
    subject = post_subject(api.ready(someone("alice")))
    retry = partial(send_report, api, bob, subject, headers=key)
    assert retry().status_code == 201
    delete_account(api, bob)
    wait_for_value(partial(problem_code_of, retry), "gone")
    assert walk(api, "/me/reports", bob) == []
