"""Clients that stop in the middle: a body that falls silent, an answer that nobody reads.

Answers wait for their readers, since the server takes the next chunk only when the last is on its
way. What they hold meanwhile has one bound for all: where it is reached, who has read nothing for
longest is given up.
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
    """The answer was not read for too long, or others needed its memory more: the connection is to
    be closed without its end."""


def silent_seconds(method: str, path: str) -> int:
    """How long a body may be silent: who resumes an upload has a bad network."""
    is_upload = method == "PATCH" and path.startswith("/uploads/")
    return _SILENT_UPLOAD_SECONDS if is_upload else _SILENT_SECONDS


async def receive_within(receive: Receive, seconds: float) -> HTTPReceiveMessage:
    """The next of a body. Raises `BodySilentError`."""
    try:
        async with asyncio.timeout(seconds):
            return cast("HTTPReceiveMessage", await receive())
    except TimeoutError as exc:
        raise BodySilentError from exc


class Readers:
    """The answers that wait for their readers, whoever has read nothing for longest first."""

    def __init__(
        self, *, max_bytes: int = _MAX_HELD_BYTES, unread_seconds: float = _UNREAD_SECONDS
    ) -> None:
        self._max_bytes = max_bytes
        self._unread_seconds = unread_seconds
        self._held: dict[asyncio.Task[Any], int] = {}
        self._bytes = 0

    async def send(self, send: Send, message: Message) -> None:
        """Pass a message on; a long body in chunks, each once the one before it is on its way.
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
        """It has read just now, so it comes last."""
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
    """An end that is no longer than a chunk: the usual answer, as a whole."""
    body = cast("dict[str, Any]", message)
    return not body.get("more_body") and len(body.get("body", b"")) <= _CHUNK_BYTES


def _parts(message: Message) -> Iterator[tuple[Message, int]]:
    """The message in chunks, and how many bytes are held until each is sent."""
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
