"""The receiver of the review hook that docs/moderation.md offers to copy, run as it stands."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import httpx
import pytest

from support.pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "moderation.md"
# The published vector of Standard Webhooks 1.0 (the tests of its libraries).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_TIME = 1614265330
VECTOR_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(VECTOR_TIME),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
JPEG = b"\xff\xd8 the bytes of an image"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program of the page, as a module."""
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    (block,) = [block for block in blocks(PAGE) if block.runner == "receiver"]
    module = ModuleType("receiver")
    exec(compile(block.code, "receiver.py", "exec"), module.__dict__)  # noqa: S102 - our own page
    return module


class Images(BaseHTTPRequestHandler):
    """Serves the image that `image_url` names."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(JPEG)))
        self.end_headers()
        self.wfile.write(JPEG)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve by the handler on a free port of this machine; give its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def url(receiver: ModuleType) -> Iterator[str]:
    with serving(receiver.Receiver) as url:
        yield url


@pytest.fixture
def body() -> Iterator[bytes]:
    with serving(Images) as images:
        event = {"type": "post.review", "data": {"id": "01K", "image_url": f"{images}600.jpg"}}
        yield json.dumps(event).encode()


def signed(body: bytes, *, age: int = 0, secret: str = SECRET) -> dict[str, str]:
    """The headers of Standard Webhooks for a body that was sent `age` seconds ago."""
    timestamp = str(int(time.time()) - age)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"msg_1.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def test_the_receiver_accepts_the_published_vector_of_standard_webhooks(
    receiver: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver.time, "time", lambda: VECTOR_TIME)
    assert receiver.is_genuine(VECTOR_HEADERS, VECTOR_BODY)
    assert not receiver.is_genuine(VECTOR_HEADERS, VECTOR_BODY + b" ")


def test_the_receiver_leaves_the_decision_to_an_admin_until_it_is_changed(
    url: str, body: bytes
) -> None:
    response = httpx.post(url, content=body, headers=signed(body))
    assert (response.status_code, response.json()) == (200, {"decision": "review"})


def test_the_check_gets_the_post_and_the_bytes_of_its_image(
    receiver: ModuleType, url: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def decide(post: dict[str, str], image: bytes) -> dict[str, str]:
        calls.append((post["id"], image))
        return {"decision": "reject", "reason": "nudity"}

    monkeypatch.setattr(receiver, "decide", decide)
    response = httpx.post(url, content=body, headers=signed(body))
    assert response.json() == {"decision": "reject", "reason": "nudity"}
    assert calls == [("01K", JPEG)]


def test_a_request_that_another_secret_signed_is_refused(url: str, body: bytes) -> None:
    headers = signed(body, secret="whsec_" + base64.b64encode(b"another key" * 3).decode())
    assert httpx.post(url, content=body, headers=headers).status_code == 401


def test_a_body_that_was_changed_is_refused(url: str, body: bytes) -> None:
    changed = body.replace(b"01K", b"01L")
    assert httpx.post(url, content=changed, headers=signed(body)).status_code == 401


@pytest.mark.parametrize("age", [600, -600])
def test_a_request_that_is_old_or_of_the_future_is_refused(url: str, body: bytes, age: int) -> None:
    assert httpx.post(url, content=body, headers=signed(body, age=age)).status_code == 401


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_request_that_lacks_a_header_of_the_signature_is_refused(
    url: str, body: bytes, missing: str
) -> None:
    headers = {name: value for name, value in signed(body).items() if name != missing}
    assert httpx.post(url, content=body, headers=headers).status_code == 401


def test_one_of_two_signatures_is_enough_while_the_secret_is_exchanged(
    url: str, body: bytes
) -> None:
    headers = signed(body)
    headers["webhook-signature"] = f"v1,AAAA v1a,BBBB {headers['webhook-signature']}"
    assert httpx.post(url, content=body, headers=headers).status_code == 200


def test_an_event_of_another_type_is_not_reviewed(url: str) -> None:
    ping = json.dumps({"type": "ping", "data": {}}).encode()
    assert httpx.post(url, content=ping, headers=signed(ping)).status_code == 422
