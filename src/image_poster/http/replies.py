"""Answers: ready bytes of JSON with an ETag, and files with ranges."""

import hashlib
from collections.abc import AsyncIterator, Mapping

from litestar import Response
from litestar.response import Redirect, Stream

from image_poster.http.ranges import ByteRange, matches, requested_range
from image_poster.http.requests import AnyRequest
from image_poster.ports.images import RemoteFile, StoredFile

JSON = "application/json"
IMMUTABLE = "public, max-age=31536000, immutable"
PRIVATE = "private, no-cache"
_CHUNK_BYTES = 256 * 1024

FileReply = Response[bytes] | Stream | Redirect


def json_reply(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """JSON that is encoded already."""
    return Response(body, status_code=status, media_type=JSON, headers=headers)


def conditional_json(
    request: AnyRequest, body: bytes, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """JSON with a strong ETag; 304 when the client has it already (RFC 9110 section 13)."""
    return tagged_json(request, body, etag_of(body), headers)


def etag_of(body: bytes) -> str:
    """A strong ETag (RFC 9110 section 8.8.3), with its quotes."""
    return f'"{hashlib.sha256(body).hexdigest()[:24]}"'


def tagged_json(
    request: AnyRequest, body: bytes, etag: str, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """As `conditional_json`, for a body whose ETag is known."""
    # To be asked for again each time: a feed changes with each comment.
    caching = {"etag": etag, "cache-control": "no-cache", **(headers or {})}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(b"", status_code=304, media_type=JSON, headers=caching)
    return json_reply(body, headers=caching)


def file_reply(
    request: AnyRequest, file: StoredFile | RemoteFile, media_type: str, cache_control: str
) -> FileReply:
    """A file, or the range of it that was asked for, or where it is; takes `file` over and closes
    it."""
    if isinstance(file, RemoteFile):
        return Redirect(file.url, status_code=302, headers={"cache-control": "no-store"})
    etag = f'"{file.etag}"'
    headers = {"etag": etag, "cache-control": cache_control, "accept-ranges": "bytes"}
    if matches(request.headers.get("if-none-match"), etag):
        file.close()
        return Response(b"", status_code=304, media_type=media_type, headers=headers)
    try:
        part = _range(request, file.size, etag)
    except BaseException:
        file.close()
        raise
    if part is None:
        part, status = ByteRange(0, file.size), 200
    else:
        last = part.start + part.length - 1
        headers["content-range"] = f"bytes {part.start}-{last}/{file.size}"
        status = 206
    headers["content-length"] = str(part.length)
    return Stream(_parts(file, part), status_code=status, media_type=media_type, headers=headers)


def _range(request: AnyRequest, size: int, etag: str) -> ByteRange | None:
    """If-Range (section 13.1.5): the range only if the file is still the same."""
    if request.headers.get("if-range", etag) != etag:
        return None
    return requested_range(request.headers.get("range"), size)


async def _parts(file: StoredFile, part: ByteRange) -> AsyncIterator[bytes]:
    try:
        at, left = part
        while left > 0:
            chunk = await file.read(at, min(left, _CHUNK_BYTES))
            if not chunk:
                return
            yield chunk
            at += len(chunk)
            left -= len(chunk)
    finally:
        file.close()
