"""Responses: encoded JSON with an ETag, and files with ranges."""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping

from litestar import Response
from litestar.response import Redirect, Stream

from image_poster.domain.idempotency import Answer
from image_poster.domain.identity import ExpectedTags
from image_poster.http.fast import EncodedResponse, Headers
from image_poster.http.ranges import ByteRange, etag_matches, matching_etag, requested_range
from image_poster.http.requests import AnyRequest
from image_poster.ports.images import RemoteFile, StoredFile

JSON = "application/json"
IMMUTABLE = "public, max-age=31536000, immutable"
PRIVATE = "private, no-cache"
# A feed changes with each comment.
_ASK_AGAIN = "no-cache"
# A 304 says what the 200 would (RFC 9110 section 15.4.5), which comes in the coding that is taken.
_BY_CODING = "Accept-Encoding"
_CHUNK_BYTES = 256 * 1024
_PLACE = "x-accel-redirect"

FileResponse = Response[bytes] | Stream | Redirect


class WireBodies:
    """Bodies made from stored documents.

    A document in the wire's format is copied without parsing; only the format's number is removed.
    Any other document is decoded, and encoded by `convert`. So a field can be renamed on the wire
    while stored documents stay the same. Set `ready_format` to None, or write a new format from
    then on.
    """

    def __init__(self, ready_format: int | None, convert: Callable[[bytes], bytes]) -> None:
        self._prefix = b"-" if ready_format is None else b'{"v":%d,' % ready_format
        self._convert = convert

    def body(self, document: bytes) -> bytes:
        """The JSON object that the API shows."""
        if document.startswith(self._prefix):
            return b"{" + document[len(self._prefix) :]
        return self._convert(document)


def json_response(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """A response of encoded JSON."""
    return Response(body, status_code=status, media_type=JSON, headers=headers)


def created_response(answer: Answer) -> Response[bytes]:
    """A 201 response; a header marks a replay."""
    headers = {"location": answer.location}
    if answer.replayed:
        headers["idempotent-replayed"] = "true"
    return json_response(answer.body, status=201, headers=headers)


def conditional_json(
    request: AnyRequest, body: bytes, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """JSON with a strong ETag; 304 when the client has this version (RFC 9110 section 13)."""
    return tagged_json(request, body, etag_of(body), headers)


def versioned_json(
    request: AnyRequest, body: bytes, tag: str, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """As `conditional_json`, for resources that can be edited. The ETag begins with the edit tag of
    the texts, which `expected_tags` reads."""
    return tagged_json(request, body, versioned_etag(body, tag), headers)


def versioned_etag(body: bytes, tag: str) -> str:
    """The ETag of a `body` whose texts have the edit tag `tag`."""
    return f'"{tag}-{etag_of(body)[1:]}'


def expected_tags(request: AnyRequest) -> ExpectedTags:
    """The edit tags in `If-Match` (RFC 9110 section 13.1.1); None without the header, and for `*`.

    Weak tags match too, unlike in the RFC: a proxy that compresses makes ETags weak (nginx does),
    but leaves the edit tag unchanged.
    """
    sent = request.headers.get("if-match")
    if sent is None or sent.strip() == "*":
        return None
    tags = (entry.strip().removeprefix("W/").strip('"') for entry in sent.split(","))
    return frozenset(tag.partition("-")[0] for tag in tags)


def etag_of(body: bytes) -> str:
    """A strong ETag (RFC 9110 section 8.8.3), with its quotes."""
    return f'"{hashlib.sha256(body).hexdigest()[:24]}"'


def tagged_json(
    request: AnyRequest, body: bytes, etag: str, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """As `conditional_json`, for a body whose ETag is known."""
    caching = {"cache-control": _ASK_AGAIN, **(headers or {})}
    known = matching_etag(request.headers.get("if-none-match"), etag)
    if known is None:
        return json_response(body, headers={"etag": etag, **caching})
    caching |= {"etag": known, "vary": _BY_CODING}
    return Response(b"", status_code=304, media_type=JSON, headers=caching)


def tagged_bytes(
    request: AnyRequest, body: bytes, etag: str, media_type: str, headers: Mapping[str, str]
) -> Response[bytes]:
    """As `tagged_json`, for a body that is never compressed in transit."""
    is_known = etag_matches(request.headers.get("if-none-match"), etag)
    return Response(
        b"" if is_known else body,
        status_code=304 if is_known else 200,
        media_type=media_type,
        headers={"etag": etag, **headers},
    )


def tagged_ready(
    sent: dict[bytes, bytes], body: bytes, etag: str, headers: Headers
) -> EncodedResponse:
    """`tagged_json` for the fast path; `sent` are the request's headers."""
    names = {name for name, _ in headers}
    caching = list(headers)
    if b"cache-control" not in names:
        caching.append((b"cache-control", _ASK_AGAIN.encode()))
    known = matching_etag(_text(sent.get(b"if-none-match")), etag)
    if known is None:
        return EncodedResponse(200, [(b"etag", etag.encode()), *caching], JSON.encode(), body)
    caching += [(b"etag", known.encode("latin-1")), (b"vary", _BY_CODING.encode())]
    return EncodedResponse(304, caching, b"", b"")


async def ready_file(
    sent: dict[bytes, bytes],
    file: StoredFile,
    media_type: str,
    cache_control: str,
    *,
    by_proxy: bool,
) -> EncodedResponse | None:
    """`file_response` for the fast path, without ranges: a small file, or any that the proxy sends.
    None for other files. Closes `file`."""
    place = file.place if by_proxy else None
    try:
        if place is None and file.size > _CHUNK_BYTES:
            return None
        etag = f'"{file.etag}"'
        headers = [
            (b"etag", etag.encode()),
            (b"cache-control", cache_control.encode()),
            (b"accept-ranges", b"bytes"),
        ]
        if etag_matches(_text(sent.get(b"if-none-match")), etag):
            return EncodedResponse(304, headers, b"", b"")
        if place is not None:
            headers.append((_PLACE.encode(), place.encode()))
            return EncodedResponse(200, headers, media_type.encode(), b"")
        return EncodedResponse(200, headers, media_type.encode(), await file.read(0, file.size))
    finally:
        file.close()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


async def file_response(
    request: AnyRequest,
    file: StoredFile | RemoteFile,
    media_type: str,
    cache_control: str,
    *,
    by_proxy: bool = False,
) -> FileResponse:
    """A file, a range of it, or a redirect to it; closes `file`. With `by_proxy` the proxy in front
    sends the file or its range (https://nginx.org/en/docs/http/ngx_http_proxy_module.html,
    X-Accel-Redirect)."""
    if isinstance(file, RemoteFile):
        return Redirect(file.url, status_code=302, headers={"cache-control": "no-store"})
    etag = f'"{file.etag}"'
    headers = {"etag": etag, "cache-control": cache_control, "accept-ranges": "bytes"}
    if etag_matches(request.headers.get("if-none-match"), etag):
        file.close()
        return Response(b"", status_code=304, media_type=media_type, headers=headers)
    try:
        part = _range(request, file.size, etag)
    except BaseException:
        file.close()
        raise
    if by_proxy and file.place is not None:
        file.close()
        headers[_PLACE] = file.place
        return Response(b"", media_type=media_type, headers=headers)
    if _is_head(request):
        file.close()
        headers["content-length"] = str(file.size)
        return Response(b"", media_type=media_type, headers=headers)
    return await _part_response(file, part, media_type, headers)


async def _part_response(
    file: StoredFile, part: ByteRange | None, media_type: str, headers: dict[str, str]
) -> FileResponse:
    if part is None:
        part, status = ByteRange(0, file.size), 200
    else:
        last = part.start + part.length - 1
        headers["content-range"] = f"bytes {part.start}-{last}/{file.size}"
        status = 206
    if part.length <= _CHUNK_BYTES:
        try:
            content = await file.read(part.start, part.length)
        finally:
            file.close()
        return Response(content, status_code=status, media_type=media_type, headers=headers)
    headers["content-length"] = str(part.length)
    return Stream(_chunks(file, part), status_code=status, media_type=media_type, headers=headers)


def _range(request: AnyRequest, size: int, etag: str) -> ByteRange | None:
    """The range to send, for GET only (section 14.2), and with If-Range only if the file is
    unchanged (section 13.1.5)."""
    if _is_head(request) or request.headers.get("if-range", etag) != etag:
        return None
    return requested_range(request.headers.get("range"), size)


def _is_head(request: AnyRequest) -> bool:
    return bool(request.scope["state"].get("is_head"))


async def _chunks(file: StoredFile, part: ByteRange) -> AsyncIterator[bytes]:
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
