"""Responses: encoded JSON with an ETag, and files with ranges. The fast path and Litestar's
handlers build their responses by these functions; both pass the request's headers.

Conditional requests are in RFC 9110 section 13, ranges in section 14.

The server takes a response's next chunk only when the last one is on its way. All waiting responses
share one limit of memory. At the limit, the least recent reader is disconnected.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec
from litestar import Response
from litestar.response import Redirect, Stream
from litestar.types import HTTPScope, Message, Send

from image_poster.domain.errors import RangeNotSatisfiableError
from image_poster.domain.idempotency import Answer
from image_poster.domain.identity import ExpectedTags
from image_poster.ports.images import RemoteFile, StoredFile

JSON = "application/json"
IMMUTABLE = "public, max-age=31536000, immutable"
PRIVATE = "private, no-store"
NO_STORE = "no-store"
FILE_CHUNK_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024
_UNREAD_SECONDS = 30
_MAX_PENDING_BYTES = 128 * 1024 * 1024
# A feed changes with each comment.
REVALIDATE = "no-cache"
_PLACE = "x-accel-redirect"
_SINGLE_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE | re.ASCII)
# More digits are behind the end of any file; Python refuses to read some thousands of them.
_MAX_DIGITS = 18

Headers = Mapping[str, str]
FileResponse = Response[bytes] | Stream | Redirect


class FastRequest(NamedTuple):
    """A GET for a `FastRoute`: its scope, its headers, and the groups that the path's pattern
    matched."""

    scope: HTTPScope
    headers: dict[bytes, bytes]
    groups: tuple[str, ...]

    @property
    def conditions(self) -> dict[str, str]:
        """The header of a conditional request, as text."""
        etags = self.headers.get(b"if-none-match")
        return {} if etags is None else {"if-none-match": etags.decode("latin-1")}


class FastRoute(NamedTuple):
    """A route that is answered without Litestar's routing, if the request has no unusual parameters
    or headers.

    `template` is Litestar's path template. `pattern` must match the whole path. `answer` builds the
    response by the function of the route's handler. If it returns None or raises any error,
    Litestar answers instead. `tests/unit/test_fast.py` compares the two.
    """

    template: str
    pattern: re.Pattern[str]
    answer: Callable[[FastRequest], Awaitable[Response[bytes] | None]]


class WireBodies:
    """Bodies made from stored documents.

    A document in the wire's format is copied without parsing; only the format's number is removed.
    Any other document is decoded, and encoded by `convert`. So a field can be renamed on the wire
    while stored documents stay the same. Set `wire_format` to None, or write a new format from then
    on.
    """

    def __init__(self, wire_format: int | None, convert: Callable[[bytes], bytes]) -> None:
        self._prefix = b"-" if wire_format is None else b'{"v":%d,' % wire_format
        self._convert = convert

    def body(self, document: bytes) -> bytes:
        """The JSON object that the API shows."""
        if document.startswith(self._prefix):
            return b"{" + document[len(self._prefix) :]
        return self._convert(document)


def page_body(name: str, items: list[bytes], following: str | None) -> bytes:
    """The JSON of a page: its encoded items, under `name`, and the cursor of the next page."""
    encoded = b",".join(items), msgspec.json.encode(following)
    return b'{"%b":[%b],"next":%b}' % (name.encode(), *encoded)


def json_response(
    body: bytes, *, status: int = 200, headers: Headers | None = None
) -> Response[bytes]:
    """A response of encoded JSON."""
    return Response(body, status_code=status, media_type=JSON, headers=headers)


def created_response(answer: Answer) -> Response[bytes]:
    """A 201 response; a header marks a replay."""
    return _answer_response(answer, 201, {"location": answer.location})


def private_response(answer: Answer, cache_control: str, *, status: int = 201) -> Response[bytes]:
    """The response to a request that created something that has no path of its own; a header marks
    a replay."""
    return _answer_response(answer, status, {"cache-control": cache_control})


def _answer_response(answer: Answer, status: int, headers: dict[str, str]) -> Response[bytes]:
    if answer.replayed:
        headers["idempotent-replayed"] = "true"
    return json_response(answer.body, status=status, headers=headers)


def tagged_json(
    request: Headers, body: bytes, etag: str, headers: Headers | None = None
) -> Response[bytes]:
    """JSON with its ETag; 304 when the client has this version. `request` are the request's
    headers. A 304 has the headers that the 200 would have (RFC 9110 section 15.4.5), which comes in
    a coding that the client accepts."""
    caching = {"cache-control": REVALIDATE, **(headers or {})}
    known = matching_etag(request.get("if-none-match"), etag)
    if known is None:
        return json_response(body, headers={"etag": etag, **caching})
    caching |= {"etag": known, "vary": "Accept-Encoding"}
    return Response(b"", status_code=304, media_type=JSON, headers=caching)


def tagged_bytes(
    request: Headers, body: bytes, etag: str, media_type: str, headers: Headers
) -> Response[bytes]:
    """As `tagged_json`, for a body that is never compressed in transit."""
    is_known = matching_etag(request.get("if-none-match"), etag) is not None
    return Response(
        b"" if is_known else body,
        status_code=304 if is_known else 200,
        media_type=media_type,
        headers={"etag": etag, **headers},
    )


def edited_json(body: bytes, tag: str, headers: Headers | None = None) -> Response[bytes]:
    """The response to an edit, with the ETag of `versioned_etag`."""
    return json_response(body, headers={"etag": versioned_etag(body, tag), **(headers or {})})


def versioned_etag(body: bytes, tag: str) -> str:
    """The ETag of a resource that can be edited. It begins with `tag`, the edit tag of the texts,
    which `expected_tags` reads."""
    return f'"{tag}-{etag_of(body)[1:]}'


def expected_tags(request: Headers) -> ExpectedTags:
    """The edit tags in `If-Match` (RFC 9110 section 13.1.1); None without the header, and for `*`.

    Weak tags match too, unlike in the RFC: a proxy that compresses makes ETags weak (nginx does),
    but leaves the edit tag unchanged.
    """
    header = request.get("if-match")
    if header is None or header.strip() == "*":
        return None
    tags = (entry.strip().removeprefix("W/").strip('"') for entry in header.split(","))
    return frozenset(tag.partition("-")[0] for tag in tags)


def etag_of(body: bytes) -> str:
    """A strong ETag (RFC 9110 section 8.8.3), with its quotes."""
    return f'"{hashlib.sha256(body).hexdigest()[:24]}"'


def matching_etag(if_none_match: str | None, etag: str) -> str | None:
    """The client's ETag that matches `etag` by weak comparison (section 13.1.2); None if none does.
    `etag` has its quotes, and `W/` if it is weak. The client's may be weak where `etag` is strong:
    the same representation, compressed."""
    if if_none_match is None:
        return None
    known = [item.strip() for item in if_none_match.split(",")]
    if "*" in known or etag in known:
        return etag
    strong = etag.removeprefix("W/")
    return next((tag for tag in known if tag.removeprefix("W/") == strong), None)


class ByteRange(NamedTuple):
    """`length` bytes from `start`."""

    start: int
    length: int


def requested_range(header: str | None, size: int) -> ByteRange | None:
    """Parse a Range header for a file of `size` bytes; None to send the whole file.

    Other units, several ranges and malformed ones are ignored, as section 14.2 allows. Raises
    `RangeNotSatisfiableError` when the range begins after the end.
    """
    match = _SINGLE_RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(_position(last), size)
        start = size - length
    else:
        start, end = _position(first), _position(last) if last else size - 1
        if last and end < start:
            return None
        length = min(end, size - 1) - start + 1
    if length <= 0 or start >= size:
        raise RangeNotSatisfiableError(size)
    return ByteRange(start, length)


def _position(digits: str) -> int:
    """Parse a number; one with too many digits becomes `10**_MAX_DIGITS`."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MAX_DIGITS else 10**_MAX_DIGITS


async def file_response(
    request: Headers,
    file: StoredFile | RemoteFile,
    media_type: str,
    cache_control: str,
    *,
    is_head: bool = False,
    by_proxy: bool = False,
) -> FileResponse:
    """A file, a range of it, or a redirect to it; closes `file`. Files of at most
    `FILE_CHUNK_BYTES` are no `Stream`.

    With `by_proxy` the proxy in front sends the file or its range
    (https://nginx.org/en/docs/http/ngx_http_proxy_module.html, X-Accel-Redirect). Raises
    `RangeNotSatisfiableError`.
    """
    if isinstance(file, RemoteFile):
        headers = {"cache-control": PRIVATE if cache_control == PRIVATE else NO_STORE}
        return Redirect(file.url, status_code=302, headers=headers)
    etag = f'"{file.etag}"'
    headers = {"etag": etag, "cache-control": cache_control, "accept-ranges": "bytes"}
    response: Response[bytes] | Stream | None = None
    try:
        if matching_etag(request.get("if-none-match"), etag) is not None:
            return Response(b"", status_code=304, media_type=media_type, headers=headers)
        # For GET only (section 14.2), and with If-Range only if the file is unchanged (13.1.5).
        is_whole = is_head or request.get("if-range", etag) != etag
        part = None if is_whole else requested_range(request.get("range"), file.size)
        if by_proxy and file.place is not None:
            headers[_PLACE] = file.place
            return Response(b"", media_type=media_type, headers=headers)
        if is_head:
            headers["content-length"] = str(file.size)
            return Response(b"", media_type=media_type, headers=headers)
        response = await _part_response(file, part, media_type, headers)
        return response
    finally:
        if not isinstance(response, Stream):
            file.close()


async def _part_response(
    file: StoredFile, part: ByteRange | None, media_type: str, headers: dict[str, str]
) -> Response[bytes] | Stream:
    status = 200 if part is None else 206
    start, length = part or ByteRange(0, file.size)
    if part is not None:
        headers["content-range"] = f"bytes {start}-{start + length - 1}/{file.size}"
    if length <= FILE_CHUNK_BYTES:
        content = await file.read(start, length)
        return Response(content, status_code=status, media_type=media_type, headers=headers)
    headers["content-length"] = str(length)
    chunks = _chunks(file, start, length)
    return Stream(chunks, status_code=status, media_type=media_type, headers=headers)


async def _chunks(file: StoredFile, start: int, length: int) -> AsyncIterator[bytes]:
    try:
        at, end = start, start + length
        while at < end and (chunk := await file.read(at, min(end - at, FILE_CHUNK_BYTES))):
            yield chunk
            at += len(chunk)
    finally:
        file.close()


class ReaderGoneError(Exception):
    """The client did not read the response in time, or other responses needed its memory. The
    connection is closed before the response's end."""


class PendingResponses:
    """The responses that wait for their readers, the least recently read one first."""

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
