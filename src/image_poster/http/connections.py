"""Connections to slow clients: those that stop sending a body, and those that stop reading a
response.

A response waits for its reader, as the server takes the next chunk only when the last one is on its
way. All waiting responses share one limit of memory. When it is reached, the client that has read
nothing for longest is disconnected.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, cast

from litestar.types import HTTPReceiveMessage, Message, Receive, Send

from image_poster.domain.errors import BodySilentError

_UNREAD_SECONDS = 30
CHUNK_BYTES = 64 * 1024
_MAX_PENDING_BYTES = 128 * 1024 * 1024


class ReaderGoneError(Exception):
    """The client did not read the response in time, or other responses needed its memory. The
    connection is closed before the response's end."""


class ClientGoneError(Exception):
    """The connection broke before the body was complete: there is no client to answer."""


class RequestBody:
    """The body of one request, whose pauses may last `seconds`. It `is_complete` after its end, and
    `is_silent` after a longer pause. `headers` are the request's."""

    def __init__(self, receive: Receive, seconds: float, headers: Mapping[bytes, bytes]) -> None:
        self._receive = receive
        self._seconds = seconds
        self.is_silent = False
        self.is_complete = not _announces_body(headers)

    async def receive(self) -> HTTPReceiveMessage:
        """The next message of the body. Raises `BodySilentError`."""
        try:
            async with asyncio.timeout(self._seconds):
                message = cast("HTTPReceiveMessage", await self._receive())
        except TimeoutError as exc:
            self.is_silent = True
            raise BodySilentError from exc
        if message["type"] == "http.disconnect" or not message["more_body"]:
            self.is_complete = True
        return message

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in non-empty chunks, as it arrives. Raises `BodySilentError`, and
        `ClientGoneError` when it stops before its end."""
        more = True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientGoneError
            if message["body"]:
                yield message["body"]
            more = message["more_body"]

    async def drain(self, seconds: float, max_bytes: int) -> int:
        """Read and discard the rest of the body, for a limited time; the number of bytes."""
        size = 0
        try:
            async with asyncio.timeout(seconds):
                while not self.is_complete and size <= max_bytes:
                    size += len(cast("dict[str, Any]", await self.receive()).get("body", b""))
        except TimeoutError:
            pass
        return size


def _announces_body(headers: Mapping[bytes, bytes]) -> bool:
    """True if a body follows (RFC 9112 section 6.3). Some clients send `Content-Length: 0` with
    every request: there is no body to read, and the connection stays open."""
    if b"transfer-encoding" in headers:
        return True
    return headers.get(b"content-length", b"").strip(b"0") != b""


class PendingResponses:
    """The responses that wait for their readers; the one that was read least recently comes
    first."""

    def __init__(
        self, *, max_bytes: int = _MAX_PENDING_BYTES, unread_seconds: float = _UNREAD_SECONDS
    ) -> None:
        self._max_bytes = max_bytes
        self._unread_seconds = unread_seconds
        self._unread: dict[asyncio.Task[Any], int] = {}
        self._bytes = 0

    async def send(self, send: Send, message: Message) -> None:
        """Pass on a long body, or a part of one, in chunks, each when the one before it is on its
        way. Raises `ReaderGoneError`. One of at most `CHUNK_BYTES` needs no waiting."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            for chunk, unread_bytes in _split(message):
                self._add(task, unread_bytes)
                await self._send(send, chunk, task)
        finally:
            self._remove(task)

    async def _send(self, send: Send, chunk: Message, task: "asyncio.Task[Any]") -> None:
        try:
            async with asyncio.timeout(self._unread_seconds):
                await send(chunk)
        except TimeoutError as exc:
            raise ReaderGoneError from exc
        except asyncio.CancelledError as exc:
            if task in self._unread:
                raise  # not cancelled by `_add`
            task.uncancel()
            raise ReaderGoneError from exc

    def _add(self, task: "asyncio.Task[Any]", unread_bytes: int) -> None:
        """Move a response to the end of the order, because its client has just read. Cancel the
        first ones while the limit is exceeded."""
        self._remove(task)
        self._unread[task] = unread_bytes
        self._bytes += unread_bytes
        while self._bytes > self._max_bytes and len(self._unread) > 1:
            longest = next(iter(self._unread))
            self._remove(longest)
            longest.cancel()

    def _remove(self, task: "asyncio.Task[Any]") -> None:
        self._bytes -= self._unread.pop(task, 0)


def _split(message: Message) -> Iterator[tuple[Message, int]]:
    """The message in chunks, each with the bytes that are in memory until it is sent."""
    whole = cast("dict[str, Any]", message)
    body, more = whole.get("body", b""), whole.get("more_body", False)
    for start in range(0, len(body) or 1, CHUNK_BYTES):
        end = start + CHUNK_BYTES
        chunk = {
            "type": "http.response.body",
            "body": body[start:end],
            "more_body": more or end < len(body),
        }
        yield cast("Message", chunk), len(body) - start
