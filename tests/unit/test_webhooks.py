"""Signed webhooks, and the review hook that is called by one."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from image_poster.adapters import webhooks
from image_poster.services.review import HookAnswer, HookFailedError
from support.loopback import answering_posts

Reply = Callable[[BaseHTTPRequestHandler], None]


def test_the_signature_is_that_of_the_specification_s_own_package() -> None:
    # Made by the package `standardwebhooks` 1.1.0 for Python.
    secret = webhooks.decoded_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert (
        webhooks.signature(
            secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
        )
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
    assert webhooks.decoded_secret(webhooks.encoded_secret(secret)) == secret


@contextmanager
def receiver(reply: Reply) -> Iterator[tuple[str, list[BaseHTTPRequestHandler]]]:
    """A server on a free port, and the requests that it got."""
    calls: list[BaseHTTPRequestHandler] = []

    def receive(handler: BaseHTTPRequestHandler) -> None:
        handler.body = handler.rfile.read(int(handler.headers["content-length"]))  # type: ignore[attr-defined]
        calls.append(handler)
        reply(handler)

    with answering_posts(receive) as url:
        yield f"{url}/hook", calls


def answering(status: int, body: bytes, **headers: str) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def ask(url: str) -> HookAnswer:
    hook = webhooks.HttpReviewHook(url, lambda: [b"secret"])
    return asyncio.run(hook.ask("review_1", b'{"type":"post.review"}'))


def test_the_hook_gets_a_signed_request_and_decides() -> None:
    with receiver(answering(200, b'{"decision":"reject","reason":"a logo"}')) as (url, calls):
        assert ask(url) == HookAnswer("reject", "a logo")
    (call,) = calls
    headers, body = call.headers, call.body  # type: ignore[attr-defined]
    timestamp = int(headers["webhook-timestamp"])
    assert headers["webhook-signature"] == webhooks.signature(
        b"secret", headers["webhook-id"], timestamp, body
    )


@pytest.mark.parametrize(
    "reply",
    [
        answering(500, b'{"decision":"publish"}'),
        answering(201, b'{"decision":"publish"}'),
        answering(302, b"", location="http://169.254.169.254/latest/meta-data"),
        answering(200, b'{"decision":"maybe"}'),
        answering(200, b"publish"),
        answering(200, b'{"decision":"publish","reason":"%b"}' % (b"x" * 20_000)),
    ],
)
def test_any_other_answer_is_a_failed_try(reply: Reply) -> None:
    with receiver(reply) as (url, calls), pytest.raises(HookFailedError):
        ask(url)
    assert len(calls) == 1


def test_a_hook_that_never_ends_its_answer_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "HOOK_SECONDS", 0.3)
    ended = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not ended.wait(0.05):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    with receiver(drip) as (url, _):
        try:
            with pytest.raises(HookFailedError):
                ask(url)
        finally:
            ended.set()


def test_a_hook_that_is_not_there_is_a_failed_try() -> None:
    with receiver(answering(200, b"")) as (url, _):
        pass
    with pytest.raises(HookFailedError):
        ask(url)
