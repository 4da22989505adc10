"""Clients that stop in the middle of a body or of an answer."""

import asyncio
from typing import Any

import pytest

from image_poster.domain.errors import BodySilentError
from image_poster.domain.signing import Signer
from image_poster.http.app import HttpSettings, create_app
from image_poster.http.auth import DevAuthenticator
from image_poster.http.middleware import silent_seconds
from image_poster.http.requests import RequestBody
from image_poster.http.responses import PendingResponses, ReaderGoneError
from image_poster.http.uploads import HmacPutUrlSigner
from support.services import services

pytestmark = pytest.mark.anyio

AT_ONCE = 0.001


async def never(*_: object) -> Any:
    await asyncio.Event().wait()


def body(content: bytes, *, more: bool = False) -> Any:
    return {"type": "http.response.body", "body": content, "more_body": more}


class Client:
    """Reads what it is sent once `reading` is set."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.read: list[tuple[bytes, bool]] = []

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        self.read.append((message["body"], message["more_body"]))


async def test_a_body_that_falls_silent_is_ended() -> None:
    with pytest.raises(BodySilentError):
        await RequestBody(never, AT_ONCE, {}).receive()


def test_who_resumes_an_upload_has_longer() -> None:
    assert silent_seconds("PATCH", "/uploads/01K") == 60
    assert silent_seconds("PATCH", "/posts/01K") == 30
    assert silent_seconds("PUT", "/uploads/01K") == 30


@pytest.mark.parametrize("more", [True, False])
async def test_a_long_answer_goes_out_in_chunks_whole_and_in_order(*, more: bool) -> None:
    client, content = Client(), bytes(range(256)) * 1000
    client.reading.set()
    await PendingResponses().send(client.send, body(content, more=more))
    assert b"".join(chunk for chunk, _ in client.read) == content
    assert max(len(chunk) for chunk, _ in client.read) <= 65_536
    assert [flag for _, flag in client.read] == [True] * 3 + [more]


async def test_the_next_chunk_waits_until_the_last_was_read() -> None:
    client = Client()
    sending = asyncio.ensure_future(PendingResponses().send(client.send, body(b"x" * 200_000)))
    await asyncio.sleep(0)
    assert not client.read
    client.reading.set()
    await sending
    assert len(client.read) == 4


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    readers = PendingResponses(unread_seconds=AT_ONCE)
    with pytest.raises(ReaderGoneError):
        await readers.send(never, body(b"x" * 200_000))
    assert not readers._unread
    assert not readers._bytes


async def test_where_memory_ends_who_has_read_nothing_for_longest_is_given_up() -> None:
    readers, clients = PendingResponses(max_bytes=500_000), [Client() for _ in range(3)]
    sending = []
    for client in clients[:2]:
        sending.append(asyncio.ensure_future(readers.send(client.send, body(b"x" * 200_000))))
        await asyncio.sleep(0)
    clients[0].reading.set()  # it has read something since
    await sending[0]
    clients[0].reading.clear()
    again = asyncio.ensure_future(readers.send(clients[0].send, body(b"x" * 200_000)))
    await asyncio.sleep(0)
    third = asyncio.ensure_future(readers.send(clients[2].send, body(b"x" * 200_000)))
    with pytest.raises(ReaderGoneError):
        await sending[1]
    for client in clients:
        client.reading.set()
    await asyncio.gather(again, third)
    assert not readers._unread
    assert not readers._bytes


async def test_one_answer_alone_may_be_larger_than_that() -> None:
    client = Client()
    client.reading.set()
    await PendingResponses(max_bytes=1000).send(client.send, body(b"x" * 200_000))
    assert sum(len(chunk) for chunk, _ in client.read) == 200_000


async def test_whoever_is_cancelled_by_others_is_cancelled() -> None:
    readers = PendingResponses()
    sending = asyncio.ensure_future(readers.send(never, body(b"x" * 200_000)))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert not readers._unread


async def test_the_service_closes_such_an_answer_without_an_end_and_without_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An end would make a part of the answer look like the whole."""
    settings = HttpSettings(
        authenticator=DevAuthenticator(), put_urls=HmacPutUrlSigner(Signer(b""))
    )
    app = create_app(services(), never, settings)
    app._pending = PendingResponses(unread_seconds=AT_ONCE)
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await never()

    scope: Any = {
        "type": "http",
        "method": "GET",
        "path": "/docs/swagger-ui-bundle.js",
        "raw_path": b"/docs/swagger-ui-bundle.js",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "http_version": "1.1",
        "client": ("127.0.0.1", 1),
    }
    with pytest.raises(ReaderGoneError):
        await app(scope, never, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["more_body"]
    said = capsys.readouterr()
    assert "a client did not read its response" in said.out + said.err
    assert "Traceback" not in said.out + said.err
