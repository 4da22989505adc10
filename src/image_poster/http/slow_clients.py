"""Slow clients: those that stop sending a body, and those that stop reading a response.

A response waits for its reader, as the server takes the next chunk only when the last one is on its
way. All waiting responses share one limit of memory. When it is reached, the client that has read
nothing for longest is disconnected.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

from litestar.types import HTTPReceiveMessage, Message, Receive, Send

from image_poster.domain.errors import BodySilentError

_SILENT_SECONDS, _SILENT_UPLOAD_SECONDS = 30, 60
_UNREAD_SECONDS = 30
_CHUNK_BYTES = 64 * 1024
_MAX_HELD_BYTES = 128 * 1024 * 1024


class ReaderGoneError(Exception):
    """The client did not read the response in time, or other responses needed its memory. The
    connection is closed before the response's end."""


def silent_seconds(method: str, path: str) -> int:
    """The longest pause in a body, in seconds; longer for resumable uploads, whose clients may have
    a bad network."""
    is_upload = method == "PATCH" and path.startswith("/uploads/")
    return _SILENT_UPLOAD_SECONDS if is_upload else _SILENT_SECONDS


async def receive_within(receive: Receive, seconds: float) -> HTTPReceiveMessage:
    """The next message of a body. Raises `BodySilentError`."""
    try:
        async with asyncio.timeout(seconds):
            return cast("HTTPReceiveMessage", await receive())
    except TimeoutError as exc:
        raise BodySilentError from exc


class Readers:
    """The responses that wait for their readers; the one that was read least recently comes
    first."""

    def __init__(
        self, *, max_bytes: int = _MAX_HELD_BYTES, unread_seconds: float = _UNREAD_SECONDS
    ) -> None:
        self._max_bytes = max_bytes
        self._unread_seconds = unread_seconds
        self._held: dict[asyncio.Task[Any], int] = {}
        self._bytes = 0

    async def send(self, send: Send, message: Message) -> None:
        """Pass a message on; a long body in chunks, each when the one before it is on its way.
        Raises `ReaderGoneError`."""
        if message["type"] != "http.response.body" or _is_short(message):
            await send(message)
            return
        try:
            for part, held in _parts(message):
                await self._send(send, part, held)
        finally:
            self._let_go(_current_task())

    async def _send(self, send: Send, message: Message, held: int) -> None:
        self._hold(_current_task(), held)
        try:
            async with asyncio.timeout(self._unread_seconds):
                await send(message)
        except TimeoutError as exc:
            raise ReaderGoneError from exc
        except asyncio.CancelledError as exc:
            if _current_task() in self._held:
                raise  # somebody else's doing
            _current_task().uncancel()
            raise ReaderGoneError from exc

    def _hold(self, task: "asyncio.Task[Any]", held: int) -> None:
        """Move a response to the end of the order, because its client has just read. Cancel the
        first ones while the limit is exceeded."""
        self._let_go(task)
        self._held[task] = held
        self._bytes += held
        while self._bytes > self._max_bytes and len(self._held) > 1:
            longest = next(iter(self._held))
            self._let_go(longest)
            longest.cancel()

    def _let_go(self, task: "asyncio.Task[Any]") -> None:
        self._bytes -= self._held.pop(task, 0)


def _is_short(message: Message) -> bool:
    """True if a message ends the body and has at most one chunk, as usual responses do."""
    body = cast("dict[str, Any]", message)
    return not body.get("more_body") and len(body.get("body", b"")) <= _CHUNK_BYTES


def _parts(message: Message) -> Iterator[tuple[Message, int]]:
    """The message in chunks, each with the bytes that are in memory until it is sent."""
    whole = cast("dict[str, Any]", message)
    body, more = whole.get("body", b""), whole.get("more_body", False)
    for start in range(0, len(body) or 1, _CHUNK_BYTES):
        end = start + _CHUNK_BYTES
        part = {
            "type": "http.response.body",
            "body": body[start:end],
            "more_body": more or end < len(body),
        }
        yield cast("Message", part), len(body) - start


def _current_task() -> "asyncio.Task[Any]":
    return cast("asyncio.Task[Any]", asyncio.current_task())
