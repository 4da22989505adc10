"""The review hook: images that a program of the operator's publishes, rejects or leaves to admins;
on one machine also through a crash."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from image_poster.adapters.webhooks import decoded_secret, signature
from support import samples
from support.api import AWS, LOCAL, Api, assert_problem
from support.loopback import answering_posts
from support.servers import AWS as AWS_COMMAND
from support.servers import local_server, running
from support.shell import Shell
from support.waiting import wait_until

IMAGE = samples.jpeg()


class Hook:
    """A receiver. The caption of a post says how it decides; `calls` are its requests: headers,
    body, and the status of the image."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], bytes, int]] = []
        self.hangs = threading.Event()
        self.url = ""

    def decide(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        data = json.loads(body)["data"]
        image = httpx.get(data["image_url"])
        status = image.status_code if image.content[:2] == b"\xff\xd8" else 0
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.calls.append((headers, body, status))
        if data["caption"] == "hang":
            self.hangs.wait(20)
        answer = json.dumps({"decision": data["caption"], "reason": "a logo"}).encode()
        handler.send_response(200)
        handler.send_header("content-length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _, _ in self.calls]


@contextmanager
def running_hook() -> Iterator[Hook]:
    hook = Hook()
    with answering_posts(hook.decide) as url:
        hook.url = f"{url}/review"
        try:
            yield hook
        finally:
            hook.hangs.set()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with running_hook() as hook:
        yield hook


@contextmanager
def service(data: Path, hook: Hook, port: int) -> Iterator[Api]:
    flags = ("--review", "hook", "--review-url", hook.url, "--admins", "root")
    public = f"http://127.0.0.1:{port}"
    with (
        local_server(data, *flags, "--public-url", public, "--port", str(port)) as server,
        Api(server.url, LOCAL) as api,
    ):
        yield api


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago: the hook must know it before the service starts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_port


def post(api: Api, caption: str) -> dict[str, Any]:
    answer = api.upload("alice", IMAGE, caption=caption)
    assert answer.status_code == 201
    return answer.json()  # type: ignore[no-any-return]


def test_the_hook_decides_by_a_signed_event_with_the_image(
    tmp_path: Path, hook: Hook, port: int
) -> None:
    data = tmp_path / "data"
    with service(data, hook, port) as api:
        published = api.processed(f"/posts/{post(api, 'publish')['id']}", "alice")
        assert published["status"] == "ready"
        assert api.get(f"/images/{published['id']}/600.jpg").status_code == 200
        left = api.processed(f"/posts/{post(api, 'review')['id']}", "alice")
        assert left["status"] == "in_review"
        api.assert_no_image(f"/images/{left['id']}/600.jpg")
        (entry,) = api.get("/moderation/queue", "root").json()["entries"]
        assert (entry["kind"], entry["post"]["id"]) == ("review", left["id"])
    headers, body, image_status = hook.calls[0]
    assert image_status == 200
    event = json.loads(body)
    assert (event["type"], event["data"]["id"]) == ("post.review", published["id"])
    printed = Shell("", tmp_path).run("webhooks", "secret", "--data-dir", data).stdout
    expected = signature(
        decoded_secret(printed), headers["webhook-id"], int(headers["webhook-timestamp"]), body
    )
    assert headers["webhook-signature"] == expected


def test_a_rejected_image_may_be_appealed_and_published(
    tmp_path: Path, hook: Hook, port: int
) -> None:
    with service(tmp_path / "data", hook, port) as api:
        rejected = api.processed(f"/posts/{post(api, 'reject')['id']}", "alice")
        assert (rejected["status"], rejected["image"]) == ("failed", None)
        assert rejected["failure"]["code"] == "image_rejected"
        decision = rejected["moderation"]
        assert (decision["action"], decision["text"]) == ("reject", "a logo")
        path = f"/me/decisions/{decision['id']}/appeal"
        assert api.send("POST", path, "alice", json={"text": "mine"}).status_code == 201
        order = {"post_id": rejected["id"], "action": "publish"}
        assert api.send("POST", "/moderation/decisions", "root", json=order).status_code == 201
        shown = api.get(f"/posts/{rejected['id']}").json()
        assert shown["status"] == "ready"
        assert "failure" not in shown
        assert api.get(shown["image"]["url"]).status_code == 200


def test_the_image_lambda_asks_the_hook(hook: Hook) -> None:
    with (
        running(AWS_COMMAND, "Review=hook", f"ReviewUrl={hook.url}", "Admins=root") as server,
        Api(server.url, AWS) as api,
    ):
        published, rejected, left = (
            api.processed(f"/posts/{post(api, caption)['id']}", "alice")
            for caption in ("publish", "reject", "review")
        )
        assert published["status"] == "ready"
        assert api.get(published["image"]["url"]).content[:2] == b"\xff\xd8"
        assert rejected["failure"]["code"] == "image_rejected"
        assert rejected["moderation"]["text"] == "a logo"
        assert left["status"] == "in_review"
        (entry,) = api.get("/moderation/queue", "root").json()["entries"]
        assert (entry["kind"], entry["post"]["id"]) == ("review", left["id"])
    posts = [published, rejected, left]
    assert hook.ids() == [f"review_{each['id']}" for each in posts]
    assert {status for _, _, status in hook.calls} == {200}


def test_a_hook_that_hangs_delays_no_other_post_and_is_asked_again_after_a_crash(
    tmp_path: Path, hook: Hook, port: int
) -> None:
    data = tmp_path / "data"
    flags = ("--review", "hook", "--review-url", hook.url, "--port", str(port))
    with local_server(data, *flags) as server, Api(server.url, LOCAL) as api:
        hanging = [post(api, "hang")["id"] for _ in range(3)]
        wait_until(lambda: len(hook.calls) >= 3)
        other = api.processed(f"/posts/{post(api, 'publish')['id']}", "alice")
        assert other["status"] == "ready"
        assert api.get(f"/posts/{hanging[0]}", "alice").json()["status"] == "processing"
        server.kill()
    before = len(hook.calls)
    hook.hangs.set()
    with service(data, hook, port):
        wait_until(lambda: len(hook.calls) > before, seconds=90)
    assert set(hook.ids()[before:]) <= {f"review_{post_id}" for post_id in hanging}


def test_only_the_signed_url_shows_the_image(tmp_path: Path, hook: Hook, port: int) -> None:
    with service(tmp_path / "data", hook, port) as api:
        post_id = api.processed(f"/posts/{post(api, 'review')['id']}", "alice")["id"]
        url = json.loads(hook.calls[0][1])["data"]["image_url"]
        assert api.http.get(url).status_code == 200
        other = url.replace("/600.jpg", "/1600.jpg")
        for wrong in (url[:-4], other, f"/images/{post_id}/600.jpg?grant=x"):
            assert_problem(api.http.get(wrong), 404, "image_not_found")
