"""Responses: encoded JSON with an ETag, and files with ranges. The fast path and Litestar's
handlers build their responses by these functions; both pass the request's headers.

Conditional requests are in RFC 9110 section 13, ranges in section 14.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

import msgspec
from litestar import Response
from litestar.response import Redirect, Stream
from litestar.types import HTTPScope

from image_poster.domain.errors import RangeNotSatisfiableError
from image_poster.domain.idempotency import Answer
from image_poster.domain.identity import ExpectedTags
from image_poster.ports.images import RemoteFile, StoredFile

JSON = "application/json"
IMMUTABLE = "public, max-age=31536000, immutable"
PRIVATE = "private, no-cache"
FILE_CHUNK_BYTES = 256 * 1024
# A feed changes with each comment.
_REVALIDATE = "no-cache"
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
    headers = {"location": answer.location}
    if answer.replayed:
        headers["idempotent-replayed"] = "true"
    return json_response(answer.body, status=201, headers=headers)


def tagged_json(
    request: Headers, body: bytes, etag: str, headers: Headers | None = None
) -> Response[bytes]:
    """JSON with its ETag; 304 when the client has this version. `request` are the request's
    headers. A 304 has the headers that the 200 would have (RFC 9110 section 15.4.5), which comes in
    a coding that the client accepts."""
    caching = {"cache-control": _REVALIDATE, **(headers or {})}
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


def edited_json(body: bytes, tag: str) -> Response[bytes]:
    """The response to an edit, with the ETag of `versioned_etag`."""
    return json_response(body, headers={"etag": versioned_etag(body, tag)})


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
        return Redirect(file.url, status_code=302, headers={"cache-control": "no-store"})
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
