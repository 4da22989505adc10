"""Webhooks of one machine: each type, bad receivers, and the commands."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from aws_local.ports import free_port
from image_poster.domain.events import EventType
from support import samples
from support.api import LOCAL, Api
from support.pages import Block, blocks
from support.peers import why_not
from support.receiver import Receiver, accept, running_receiver
from support.servers import local_server, refused
from support.shell import Shell
from support.waiting import wait_until

IMAGE = samples.jpeg()
ADMINS = ("--admins", "root")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell("", tmp_path)


@contextmanager
def service(
    data: Path, shell: Shell, *receivers: Receiver, flags: tuple[str, ...] = ()
) -> Iterator[Api]:
    hooks = [word for receiver in receivers for word in ("--webhook", receiver.url)]
    with local_server(data, *ADMINS, *hooks, *flags) as server, Api(server.url, LOCAL) as api:
        for receiver in receivers:
            receiver.learn_secret(shell, data)
        yield api


def decide(api: Api, **decision: Any) -> dict[str, Any]:
    answer = api.send("POST", "/moderation/decisions", "root", json=decision)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def comment(api: Api, post_id: str, user: str, content: str = "nice") -> dict[str, Any]:
    answer = api.send("POST", f"/posts/{post_id}/comments", user, json={"content": content})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def webhook_schema(document: dict[str, Any], type_: str) -> dict[str, Any]:
    content = document["webhooks"][type_]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    return {**schema, "components": document["components"]}


def test_each_fact_sends_its_event_as_the_document_describes_it(
    tmp_path: Path, shell: Shell, receiver: Receiver
) -> None:
    data = tmp_path / "data"
    with service(data, shell, receiver) as api:
        post = api.finished("alice", IMAGE, caption="a boat")
        assert receiver.wait_for("post.ready").data == api.get(f"/posts/{post['id']}").json()
        added = comment(api, post["id"], "bob")
        assert receiver.wait_for("comment.created").data == added
        report = {"post_id": post["id"], "reason": "spam"}
        reported = api.send("POST", "/reports", "bob", json=report).json()
        ids = {"id": reported["id"], "post_id": post["id"], "comment_id": None}
        assert receiver.wait_for("report.created").data == ids
        hidden = decide(api, post_id=post["id"], action="hide", reason="spam")
        assert receiver.wait_for("post.hidden").data == {"id": post["id"]}
        ids = {"id": hidden["id"], "post_id": post["id"], "comment_id": None, "user": None}
        assert receiver.wait_for("decision.made").data == ids
        decide(api, post_id=post["id"], action="restore")
        restored = receiver.wait_for("post.restored").data
        assert (restored["id"], restored["caption"]) == (post["id"], "a boat")
        api.send("DELETE", f"/posts/{post['id']}/comments/{added['id']}", "bob")
        ids = {"id": added["id"], "post_id": post["id"]}
        assert receiver.wait_for("comment.deleted").data == ids
        failed = api.finished("alice", IMAGE[:-400])
        assert failed["status"] == "failed"
        assert receiver.wait_for("post.failed").data == {"id": failed["id"]}
        assert api.send("DELETE", "/me", "alice", json={"confirm": "alice"}).status_code == 202
        assert receiver.wait_for("user.deleted").data == {"user": "alice"}
        receiver.wait_for("post.deleted", 2)
        document = api.get("/openapi.json").json()
    assert {event.type for event in receiver.events} == set(EventType)
    assert set(document["webhooks"]) == {*EventType, "ping"}
    for event in receiver.events:
        body = {"type": event.type, "timestamp": event.timestamp, "data": event.data}
        jsonschema_rs.validate(webhook_schema(document, event.type), body)
    assert receiver.invalid == []
    assert len({event.id for event in receiver.events}) == len(receiver.events)


def test_deleting_a_post_sends_no_event_for_its_comments(
    tmp_path: Path, shell: Shell, receiver: Receiver
) -> None:
    with service(tmp_path / "data", shell, receiver) as api:
        first, second = api.finished("alice", IMAGE), api.finished("alice", IMAGE)
        comment(api, first["id"], "bob")
        comment(api, second["id"], "bob")
        api.send("DELETE", f"/posts/{first['id']}", "alice")
        # The account's comments on posts that stay have events.
        api.send("DELETE", "/me", "bob", json={"confirm": "bob"})
        assert receiver.wait_for("comment.deleted").data["post_id"] == second["id"]
        receiver.wait_for("post.deleted")
        receiver.wait_for("user.deleted")
    assert [event.data["post_id"] for event in receiver.of_type("comment.deleted")] == [
        second["id"]
    ]


def test_events_wait_for_a_receiver_that_is_down_through_restarts(
    tmp_path: Path, shell: Shell, receiver: Receiver
) -> None:
    """Each receiver has its own events: those of the other are not delayed."""
    data = tmp_path / "data"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and no `listen`: connections are refused
        down = Receiver(f"http://127.0.0.1:{closed.getsockname()[1]}/down")
        with service(data, shell, receiver, down) as api:
            post = api.finished("alice", IMAGE)
            for number in range(20):
                comment(api, post["id"], "bob", str(number))
            receiver.wait_for("comment.created", 20)
            wait_until(lambda: "Connection refused" in listed(shell, data))
        assert "21 waiting" in listed(shell, data)
        with service(data, shell, receiver, down):
            assert "21 waiting" in listed(shell, data)
    assert receiver.invalid == []


def listed(shell: Shell, data: Path, code: int = 0) -> str:
    return shell.run("webhooks", "--data-dir", data, code=code).stdout


def never_end(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def send_endless_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"x-more: %b\r\n" % (b"y" * 60_000))


def redirect_to_metadata(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("location", "http://169.254.169.254/latest/meta-data/")
    handler.end_headers()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (send_endless_headers, "got more than 100 headers"),
        (redirect_to_metadata, "the status is 302"),
    ],
)
def test_a_hostile_answer_is_a_failed_try(
    tmp_path: Path, shell: Shell, receiver: Receiver, reply: Any, error: str
) -> None:
    receiver.reply, data = reply, tmp_path / "data"
    with service(data, shell, receiver) as api:
        api.finished("alice", IMAGE)
        wait_until(lambda: error in listed(shell, data), message=lambda: listed(shell, data))


def test_an_endless_body_costs_nothing_because_it_is_not_read(
    tmp_path: Path, shell: Shell, receiver: Receiver
) -> None:
    receiver.reply, data = never_end, tmp_path / "data"
    with service(data, shell, receiver) as api:
        api.finished("alice", IMAGE)
        receiver.wait_for("post.ready")
        wait_until(lambda: "0 waiting" in listed(shell, data))


def test_410_switches_an_endpoint_off_until_a_replay(
    tmp_path: Path, shell: Shell, receiver: Receiver
) -> None:
    def gone(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(410)
        handler.end_headers()

    receiver.reply, data = gone, tmp_path / "data"
    with service(data, shell, receiver) as api:
        post = api.finished("alice", IMAGE)
        wait_until(lambda: 'outcome="endpoint_off"' in api.get("/metrics").text)
        assert "answered 410" in listed(shell, data, code=1)
    receiver.reply = accept
    with service(data, shell, receiver) as api:
        comment(api, post["id"], "bob")
        assert "2 waiting" in listed(shell, data, code=1)
        findings = shell.run("doctor", "--data-dir", data, code=1).stdout
        assert "1 endpoints are off" in findings
        shell.run("webhooks", "--replay", "--data-dir", data)
        receiver.wait_for("comment.created")
        receiver.wait_for("post.ready", 2)
    tries = [event.id for event in receiver.of_type("post.ready")]
    assert len(set(tries)) == 1


def test_a_receiver_that_hangs_delays_neither_requests_nor_other_receivers_nor_the_stop(
    tmp_path: Path, shell: Shell, receiver: Receiver
) -> None:
    ended = threading.Event()
    with running_receiver() as slow:
        slow.reply = lambda _: ended.wait(60)  # type: ignore[assignment]
        try:
            with service(tmp_path / "data", shell, slow, receiver) as api:
                post = api.finished("alice", IMAGE)
                for number in range(40):
                    comment(api, post["id"], "bob", str(number))
                receiver.wait_for("comment.created", 40)
                wait_until(lambda: len(slow.events) == 8)  # all parallel tries
        finally:
            ended.set()


def test_two_workers_deliver_each_event_once(
    tmp_path: Path, shell: Shell, receiver: Receiver
) -> None:
    with service(tmp_path / "data", shell, receiver, flags=("--workers", "2")) as api:
        post = api.finished("alice", IMAGE)
        with httpx.Client(base_url=api.url) as other:
            for number in range(20):
                content = {"content": str(number)}
                path = f"/posts/{post['id']}/comments"
                sent = other.post(path, json=content, headers={"user-id": "bob"})
                assert sent.status_code == 201
        receiver.wait_for("comment.created", 20)
        receiver.wait_for("post.ready")
        wait_until(lambda: "0 waiting" in listed(shell, tmp_path / "data"))
    assert len(receiver.events) == 21


def test_ping_and_a_rotation_of_the_secret(
    tmp_path: Path, shell: Shell, receiver: Receiver
) -> None:
    data = tmp_path / "data"
    with service(data, shell, receiver) as api:
        former = receiver.secret
        shell.run("webhooks", "test", "--data-dir", data)
        assert receiver.wait_for("ping").data == {}
        rotated = shell.run("webhooks", "secret", "--rotate", "--data-dir", data).stdout.strip()
        assert rotated != former
        post = api.finished("alice", IMAGE)  # the running server signs with both
        receiver.wait_for("post.ready")
        receiver.secret = rotated
        comment(api, post["id"], "bob")
        receiver.wait_for("comment.created")
        receiver.reply = redirect_to_metadata
        output = shell.run("webhooks", "test", "--data-dir", data, code=1).stdout
        assert "the status is 302" in output
    assert receiver.invalid == []


def test_a_backup_keeps_waiting_events_and_the_secret(
    tmp_path: Path, shell: Shell, receiver: Receiver
) -> None:
    data, backup, restored = tmp_path / "data", tmp_path / "backup", tmp_path / "restored"
    down = Receiver("http://127.0.0.1:9/down")
    with service(data, shell, down) as api:
        api.finished("alice", IMAGE)
        wait_until(lambda: "1 waiting" in listed(shell, data))
        shell.run("backup", backup, "--data-dir", data)
    shell.run("restore", backup, "--data-dir", restored)
    assert "1 waiting" in listed(shell, restored)
    receiver.learn_secret(shell, restored)
    assert receiver.secret == down.secret


def test_without_an_endpoint_nothing_is_stored_and_the_command_says_so(
    tmp_path: Path, shell: Shell
) -> None:
    data = tmp_path / "data"
    with service(data, shell) as api:
        api.finished("alice", IMAGE)
        assert "no endpoint" in listed(shell, data)
        assert (
            "there is no endpoint"
            in shell.run("webhooks", "test", "--data-dir", data, code=2).stderr
        )
        words = ("webhooks", "--data-dir", data, "test")
        assert "pass --data-dir after `test`" in shell.run(*words, code=2).stderr
        metrics = api.get("/metrics").text
    assert "image_poster_webhook_events{" not in metrics


def test_a_removed_endpoint_gets_no_new_events_and_keeps_the_old_ones(
    tmp_path: Path, shell: Shell
) -> None:
    data, down = tmp_path / "data", Receiver("http://127.0.0.1:9/down")
    with service(data, shell, down) as api:
        post = api.finished("alice", IMAGE)
    with service(data, shell) as api:
        comment(api, post["id"], "bob")
        text = listed(shell, data)
    assert "1 waiting" in text
    assert "removed" in text


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://example.org/hook", "webhook must be https"),
        ("ftp://example.org/hook", "webhook must be https"),
        ("https://example.org/hook", "webhook needs public_url"),
        ("nonsense", "webhook must be https"),
        ("https://user:secret@example.org/hook", "without a user or password"),
    ],
)
def test_an_endpoint_must_be_https_and_needs_a_public_url(url: str, sentence: str) -> None:
    assert sentence in refused("--webhook", url)


RECEIVERS = [
    block
    for block in blocks(Path(__file__).parents[2] / "docs" / "webhooks.md")
    if block.runner in {"webhooks-python", "webhooks-node"}
]


@pytest.mark.parametrize("block", RECEIVERS, ids=lambda block: block.runner)
def test_a_receiver_of_the_docs_accepts_genuine_events_only(
    block: Block, tmp_path: Path, shell: Shell
) -> None:
    is_node = block.runner == "webhooks-node"
    if is_node and why_not():
        pytest.skip(why_not())
    code = tmp_path / ("receiver.mjs" if is_node else "receiver.py")
    code.write_text(block.code)
    data, port = tmp_path / "data", free_port()
    url = f"http://127.0.0.1:{port}/events"
    with local_server(data):
        secret = shell.run("webhooks", "secret", "--data-dir", data).stdout.strip()
    with subprocess.Popen(
        ["node" if is_node else sys.executable, str(code), str(port)],
        env={**os.environ, "WEBHOOK_SECRET": secret},
        stdout=subprocess.PIPE,
        text=True,
    ) as receiver:
        try:
            wait_until(lambda: is_refused(url))
            with service(data, shell, Receiver(url)) as api:
                post = api.finished("alice", IMAGE)
                assert receiver.stdout is not None
                assert receiver.stdout.readline().startswith(
                    f"post.ready {{'id': '{post['id']}'"
                    if not is_node
                    else f'post.ready {{"id":"{post["id"]}"'
                )
                wait_until(lambda: "0 waiting" in listed(shell, data))
        finally:
            receiver.terminate()


def is_refused(url: str) -> bool:
    """True once the receiver runs: it refuses requests without a valid signature."""
    headers = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,eA=="}
    try:
        statuses = {httpx.post(url, headers=each).status_code for each in ({}, headers)}
    except httpx.TransportError:
        return False
    return statuses == {401}


def test_metrics_count_tries(tmp_path: Path, shell: Shell, receiver: Receiver) -> None:
    with service(tmp_path / "data", shell, receiver) as api:
        api.finished("alice", IMAGE)
        receiver.wait_for("post.ready")
        wait_until(lambda: 'tries_total{outcome="delivered"} 1.0' in api.get("/metrics").text)
