"""Encoding of each response before it is sent: the service's URLs, compression, and the headers for
pages of other origins.

Services and stores use paths only, from `/` on. `PublicUrl` turns them into URLs.

`Cors` replaces Litestar's for three reasons. Litestar omits `Vary` from responses to requests
without an Origin. The browser then keeps an image of an `<img>` for a year, and refuses it to a
page's `fetch`. Litestar also treats every OPTIONS with an Origin as a preflight, and does not see
the middleware's own responses.

Images are never compressed again; the gallery's files are compressed when it is built.
"""

import asyncio
import gzip
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

import brotli
from litestar.types import HTTPScope

RawHeaders = list[tuple[bytes, bytes]]

# In a request's state: its path was the service's own, without the slash that a page's relative
# URLs need.
BARE = "bare_path"
# The members of JSON that are paths. In JSON a quote within a text is escaped (RFC 8259 section 7),
# so none of these can be part of one.
_URL_MEMBERS = (b'"url":"', b'"tus":"')

ANY = "*"
_LOOPBACK = re.compile(rb"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")
# All that is not safelisted (Fetch Standard, section 2.2.2) and that a page has a use for.
_EXPOSED = ", ".join(
    [
        *("Accept-Ranges", "Allow", "Content-Range", "ETag", "Idempotent-Replayed", "Link"),
        *("Location", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate"),
        *("X-Request-Id", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size"),
        *("Tus-Checksum-Algorithm", "Upload-Offset", "Upload-Length", "Upload-Defer-Length"),
        *("Upload-Metadata", "Upload-Expires"),
    ]
).encode()
_ALLOW_ORIGIN = b"access-control-allow-origin"
_EXPOSE = (b"access-control-expose-headers", _EXPOSED)
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    (b"access-control-max-age", b"600"),
]
_REQUEST_HEADERS = b"access-control-request-headers"
_VARY = (b"vary", b"Origin")

MIN_BYTES = 1024
# The better one first (docs/decisions/0027).
CODINGS = ("br", "gzip")
_ZERO = re.compile(r"q(=[0.]*)?")
_BROTLI_QUALITY, _GZIP_LEVEL = 5, 5
_JSON = (b"application/json", b"application/problem+json")
_MAX_INLINE_BYTES = 128 * 1024
# The OpenAPI document has some 64 KiB.
_MAX_CACHED, _MAX_CACHED_BYTES, _MAX_CACHED_CHARACTERS = 128, 128 * 1024, 256


class PublicUrl:
    """The service's URL for its clients (`--public-url`), perhaps below a path. `url` is absolute
    and has no slash at its end; if it is empty, paths stay relative to the host."""

    def __init__(self, url: str = "") -> None:
        self.url = url
        self._base = url.encode()
        self.path = urlsplit(url).path

    def strip(self, scope: HTTPScope) -> None:
        """Remove the service's own path from the request's path. A proxy in front may have done
        that already."""
        path = scope["path"]
        if self.path and path == self.path:
            scope.setdefault("state", {})[BARE] = True
        if self.path and (path == self.path or path.startswith(f"{self.path}/")):
            scope["path"] = path[len(self.path) :] or "/"
            raw_path = scope.get("raw_path") or path.encode()
            scope["raw_path"] = raw_path.removeprefix(self.path.encode()) or b"/"

    def headers(self, headers: RawHeaders) -> RawHeaders:
        """The headers of a response, with URLs in `Location` and `Link`."""
        if not self._base:
            return headers
        return [(name, self._header(name, value)) for name, value in headers]

    def body(self, body: bytes) -> bytes:
        """The JSON of a response, with URLs."""
        if self._base:
            for name in _URL_MEMBERS:
                body = body.replace(name + b"/", name + self._base + b"/")
        return body

    def _header(self, name: bytes, value: bytes) -> bytes:
        if name == b"location" and value.startswith(b"/"):
            return self._base + value
        if name == b"link":
            return value.replace(b"</", b"<" + self._base + b"/")
        return value


class Cors:
    """CORS (Fetch Standard, section 3.2) for the pages of `origins`: `*` allows all, and an empty
    tuple allows those of loopback names. The service uses no cookies, so a page gains nothing from
    its user's browser alone."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, request: Mapping[bytes, bytes]) -> RawHeaders:
        """The CORS headers of every response to this request. They are the same for every origin if
        all are allowed; else they include `Vary`, even without an Origin (RFC 9110 section
        12.5.5)."""
        if self._any:
            return [(_ALLOW_ORIGIN, b"*"), _EXPOSE]
        origin = request.get(b"origin")
        if origin is None or not self._allows(origin):
            return [_VARY]
        return [(_ALLOW_ORIGIN, origin), _EXPOSE, _VARY]

    def preflight(self, request: Mapping[bytes, bytes]) -> RawHeaders | None:
        """The headers of a preflight's response, in addition to `headers`; None for any other
        OPTIONS. Only `Access-Control-Request-Method` makes one a preflight (Fetch Standard, section
        3.2.2). Empty for a page that is not allowed."""
        if b"origin" not in request or b"access-control-request-method" not in request:
            return None
        if not self._allows(request[b"origin"]):
            return []
        if _REQUEST_HEADERS not in request:
            return _PREFLIGHT
        return [*_PREFLIGHT, (b"access-control-allow-headers", request[_REQUEST_HEADERS])]

    def _allows(self, origin: bytes) -> bool:
        if self._any:
            return True
        if self._origins:
            return origin in self._origins
        return _LOOPBACK.fullmatch(origin) is not None


class ResponseEncoder:
    """Encodes responses. It caches small compressed bodies, so the same bytes, such as a cached
    page of the feed, are compressed once."""

    def __init__(self, public_url: PublicUrl, cors: Cors) -> None:
        self._public_url = public_url
        self._cors = cors
        self._compressed: dict[tuple[str, bytes], bytes] = {}

    async def encode(
        self, request: Mapping[bytes, bytes], headers: RawHeaders, body: bytes, *, is_whole: bool
    ) -> tuple[RawHeaders, bytes]:
        """The headers and the body to send; `request` are the request's headers. JSON gets URLs and
        a coding that the client accepts, if its body `is_whole` in one chunk."""
        headers = self._public_url.headers(headers)
        if is_whole:
            fields = dict(headers)
            if fields.get(b"content-type", b"").startswith(_JSON):
                accepted = request.get(b"accept-encoding", b"")
                headers, body = await self._encode_json(fields, body, accepted.decode("latin-1"))
        return [*headers, *self._cors.headers(request)], body

    async def _encode_json(
        self, fields: dict[bytes, bytes], body: bytes, accepted: str
    ) -> tuple[RawHeaders, bytes]:
        """JSON in the best coding of the client. From `MIN_BYTES` on the headers include `Vary`. A
        compressed body has a weak ETag, as a strong one must not name different bytes (RFC 9110
        section 8.8.3.3)."""
        body = self._public_url.body(body)
        is_long = len(body) >= MIN_BYTES
        choose = _cached_coding if len(accepted) <= _MAX_CACHED_CHARACTERS else best_coding
        coding = choose(accepted, CODINGS) if is_long else ""
        if coding:
            body = await self._compress(body, coding)
            if b"etag" in fields:
                fields[b"etag"] = b"W/" + fields[b"etag"].removeprefix(b"W/")
        if b"content-length" in fields:
            fields[b"content-length"] = b"%d" % len(body)
        encoded = [*fields.items()]
        if is_long:
            encoded.append((b"vary", b"Accept-Encoding"))
        if coding:
            encoded.append((b"content-encoding", coding.encode()))
        return encoded, body

    async def _compress(self, body: bytes, coding: str) -> bytes:
        # The hash of bytes is stored with them, so a second look-up of the same object is cheap.
        cached = self._compressed.get((coding, body))
        if cached is not None:
            return cached
        if len(body) > _MAX_INLINE_BYTES:
            return await asyncio.to_thread(_compressed, body, coding)
        compressed = _compressed(body, coding)
        if len(body) <= _MAX_CACHED_BYTES:
            if len(self._compressed) >= _MAX_CACHED:
                self._compressed.clear()
            self._compressed[coding, body] = compressed
        return compressed


def best_coding(accepted: str | None, offered: Iterable[str]) -> str:
    """The first offered coding that the client accepts (RFC 9110 section 12.5.3); empty if it
    accepts none."""
    weights = {}
    for entry in (accepted or "").lower().split(","):
        name, _, parameters = entry.partition(";")
        weights[name.strip()] = not _ZERO.fullmatch(parameters.replace(" ", ""))
    usable = (name for name in offered if weights.get(name, weights.get("*", False)))
    return next(usable, "")


_cached_coding = lru_cache(_MAX_CACHED)(best_coding)


def _compressed(body: bytes, coding: str) -> bytes:
    if coding == "br":
        return brotli.compress(body, mode=brotli.MODE_TEXT, quality=_BROTLI_QUALITY)  # type: ignore[no-any-return]
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)
