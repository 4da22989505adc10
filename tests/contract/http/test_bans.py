"""Bans: each kind of write is refused, and the rest goes on."""

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import samples
from support.api import LOCAL, Api, assert_problem, someone
from support.moderation import (
    ADMIN,
    FAR,
    Item,
    answer_after_deletion,
    appeal,
    comment_status,
    decide,
    delete_account,
    hidden,
    in_seconds,
    new_key,
    post_subject,
    reserve,
    send_report,
    user_subject,
    walk,
)
from support.servers import local_server
from support.waiting import wait_until

TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
IMAGE = samples.jpeg()
CAPTION = b64encode(b"hello").decode()


class Author:
    """A user with a post, a comment and an upload from before the ban."""

    def __init__(self, api: Api) -> None:
        self.api, self.name = api, someone("author")
        self.post = api.ready(self.name)
        self.other = api.ready(someone("alice"))
        self.comment = api.comment(self.other["id"], self.name)
        self.upload = reserve(api, self.name, len(IMAGE)).json()
        self.path = f"/posts/{self.post['id']}"
        self.comments = f"/posts/{self.other['id']}/comments"

    def send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        return self.api.send(method, path, self.name, **parts)

    def patch_upload(self) -> httpx.Response:
        path = self.upload["upload"]["tus"]
        return self.send("PATCH", path, content=IMAGE, headers=PIECE)

    def put(self) -> httpx.Response:
        way = self.upload["upload"]["put"]
        return self.api.http.put(way["url"], content=IMAGE, headers=way["headers"])

    def create_upload(self) -> httpx.Response:
        size = {"upload-length": "1000", "upload-metadata": f"caption {CAPTION}"}
        return self.send("POST", "/uploads", headers={**TUS, **size})

    def add_comment(self) -> httpx.Response:
        return self.send("POST", self.comments, json={"content": "hello"})


WRITES: dict[str, Callable[[Author], httpx.Response]] = {
    "post": lambda author: author.api.upload(author.name),
    "reservation": lambda author: reserve(author.api, author.name),
    "upload": Author.create_upload,
    "PATCH of an upload": Author.patch_upload,
    "signed PUT": Author.put,
    "comment": Author.add_comment,
    "comment by the former path": lambda author: author.send(
        "POST", "/comments", json={"post_id": author.other["id"], "content": "hello"}
    ),
    "edit of a post": lambda author: author.send("PATCH", author.path, json={"caption": "x"}),
    "edit of a comment": lambda author: author.send(
        "PATCH", f"{author.comments}/{author.comment['id']}", json={"content": "x"}
    ),
    "report": lambda author: send_report(author.api, author.name, post_subject(author.other)),
}


@pytest.fixture(scope="module")
def author(api: Api) -> Author:
    """A banned user, whose ban has taken effect."""
    author = Author(api)
    ban(author, reason="hate", text="Never again.")
    return author


def ban(author: Author, **members: Any) -> Item:
    """A decision that has taken effect: at the next request, or within 15 s on AWS."""
    decision = decide(author.api, "ban", user_subject(author.name), **members)
    author.api.eventually(lambda: author.add_comment().status_code, 403)
    return decision


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.where(own_files=True) if kind == "signed PUT" else ())
        for kind in WRITES
    ],
)
def test_a_write_of_a_banned_user_is_refused(author: Author, kind: str) -> None:
    problem = assert_problem(WRITES[kind](author), 403, "banned")
    assert (problem["reason"], problem["until"]) == ("hate", None)


def test_nothing_of_a_banned_user_was_written(api: Api, author: Author) -> None:
    unchanged = api.get(author.path, author.name).json()
    assert unchanged["caption"] == author.post["caption"]
    awaiting = api.get(f"/posts/{author.upload['id']}", author.name).json()
    assert awaiting["status"] == "awaiting_upload"
    offset = author.send("HEAD", author.upload["upload"]["tus"], headers=TUS)
    assert offset.headers["upload-offset"] == "0"
    assert len(walk(api, "/me/posts", author.name)) == 2
    assert walk(api, "/me/reports", author.name) == []
    comment = api.get(f"{author.comments}/{author.comment['id']}").json()
    assert comment["content"] == author.comment["content"]


@pytest.mark.where(counts_at_once=True)
def test_a_ban_takes_effect_at_the_next_request_on_one_machine(api: Api) -> None:
    author = Author(api)
    decide(api, "ban", user_subject(author.name))
    assert_problem(author.add_comment(), 403, "banned")


def test_a_ban_says_when_it_ends(api: Api) -> None:
    author = Author(api)
    ban(author, until=FAR)
    problem = assert_problem(author.add_comment(), 403, "banned")
    assert (problem["reason"], problem["until"]) == ("spam", FAR)


def test_a_banned_user_reads_on(api: Api, author: Author) -> None:
    for path in (
        *("/posts", author.path, author.comments, f"{author.path}/original", "/me"),
        *("/me/feed", "/me/posts", "/me/comments", "/me/reports", "/me/blocks", "/me/decisions"),
    ):
        assert author.send("GET", path).status_code == 200, path
    # The content from before the ban stays public.
    assert api.get(author.path).status_code == 200


def test_a_banned_user_deletes_their_own_content(api: Api) -> None:
    author = Author(api)
    ban(author)
    upload = author.upload["upload"]["tus"]
    assert author.send("DELETE", upload, headers=TUS).status_code == 204
    assert author.send("DELETE", f"{author.comments}/{author.comment['id']}").status_code == 204
    assert author.send("DELETE", author.path).status_code == 204
    assert walk(api, "/me/posts", author.name) == []


def test_a_banned_user_changes_their_blocks(api: Api, author: Author) -> None:
    assert author.send("PUT", "/me/blocks/bob").status_code == 204
    api.eventually(lambda: len(walk(api, "/me/blocks", author.name)), 1)
    assert author.send("DELETE", "/me/blocks/bob").status_code == 204


def test_a_banned_user_appeals(api: Api) -> None:
    bob = someone("bob")
    hidden(api, bob)
    decide(api, "ban", user_subject(bob))
    api.eventually(lambda: len(walk(api, "/me/decisions", bob)), 2)
    for decision in walk(api, "/me/decisions", bob):
        assert appeal(api, bob, decision["id"]).status_code == 201


def test_unbanning_ends_a_ban(api: Api) -> None:
    author = Author(api)
    ban(author)
    decide(api, "unban", user_subject(author.name))
    api.eventually(lambda: author.add_comment().status_code, 201)
    assert author.patch_upload().status_code == 204
    assert api.processed(f"/posts/{author.upload['id']}", author.name)["status"] == "ready"
    api.ready(author.name)


@pytest.mark.slow(reason="waits for a ban, or starts two processes")
def test_a_ban_ends_at_its_time(api: Api) -> None:
    author = Author(api)
    # On AWS, a ban takes effect within 15 s.
    seconds = 3 if api.edition.counts_at_once else 30
    until = in_seconds(seconds)
    decision = decide(api, "ban", user_subject(author.name), until=until)
    assert decision["until"] == until
    wait_until(lambda: author.add_comment().status_code == 403, seconds=seconds)
    wait_until(lambda: author.add_comment().status_code == 201, every=0.2, seconds=seconds + 60)
    assert in_seconds(0) >= until


def test_a_shorter_ban_replaces_a_longer_one(api: Api) -> None:
    author = Author(api)
    ban(author)
    decide(api, "ban", user_subject(author.name), until=in_seconds(1))
    wait_until(lambda: author.add_comment().status_code == 201, every=0.2)


def test_a_refused_write_leaves_its_key_unused(api: Api) -> None:
    author, key = Author(api), new_key()
    ban(author)
    sent = {"json": {"content": "once"}, "headers": key}
    assert_problem(author.send("POST", author.comments, **sent), 403, "banned")
    decide(api, "unban", user_subject(author.name))
    api.eventually(lambda: author.add_comment().status_code, 201)
    assert author.send("POST", author.comments, **sent).status_code == 201


def test_a_retry_of_a_write_from_before_the_ban_is_refused_or_replayed(api: Api) -> None:
    """Either response is true; a second comment would not be."""
    author, key = Author(api), new_key()
    sent = {"json": {"content": "once"}, "headers": key}
    first = author.send("POST", author.comments, **sent)
    ban(author)
    again = author.send("POST", author.comments, **sent)
    if again.status_code == 201:
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
    else:
        assert_problem(again, 403, "banned")


@pytest.mark.where(deletes_accounts_soon=True)
def test_a_ban_survives_the_deletion_of_the_account(api: Api) -> None:
    author = Author(api)
    ban(author, reason="hate")
    delete_account(api, author.name)
    answer = answer_after_deletion(author.add_comment)
    assert assert_problem(answer, 403, "banned")["reason"] == "hate"
    decide(api, "unban", user_subject(author.name))
    api.eventually(lambda: author.add_comment().status_code, 201)


def test_a_ban_of_one_user_is_no_ban_of_another(api: Api, author: Author) -> None:
    assert api.comment(author.other["id"], someone("bob"))["content"]


def test_a_user_without_any_content_can_be_banned(api: Api) -> None:
    bob, post = someone("bob"), api.ready(someone("alice"))
    decide(api, "ban", user_subject(bob))
    path, body = f"/posts/{post['id']}/comments", {"content": "first words"}

    def code() -> str:
        return str(api.send("POST", path, bob, json=body).json().get("code"))

    api.eventually(code, "banned")


@pytest.mark.slow(reason="waits for a ban, or starts two processes")
def test_decisions_hold_at_the_next_request_in_every_process(tmp_path: Path) -> None:
    """Each connection may reach another process of one machine."""
    flags = ("--workers", "3", "--admins", ADMIN)
    with local_server(tmp_path, *flags) as server, Api(server.url, LOCAL) as first:
        alice, bob, carol = someone("alice"), someone("bob"), someone("carol")
        post, other = first.ready(alice), first.ready(alice)

        def statuses(user: str, target: Item) -> set[int]:
            answers = set()
            for _ in range(12):
                with Api(server.url, LOCAL) as api:
                    answers.add(comment_status(api, target, user))
            return answers

        assert statuses(bob, post) == {201}
        decide(first, "ban", user_subject(bob))
        assert statuses(bob, post) == {403}
        decide(first, "unban", user_subject(bob))
        assert statuses(bob, post) == {201}
        assert first.send("PUT", f"/me/blocks/{alice}", carol).status_code == 204
        assert statuses(carol, post) == {403}
        decide(first, "hide", post_subject(other))
        assert statuses(bob, other) == {404}
        decide(first, "restore", post_subject(other))
        assert statuses(bob, other) == {201}
