"""CORS: the origins whose pages may call the service, and the headers that they may read (Fetch
Standard, section 3.2).

This replaces Litestar's CORS for three reasons. Litestar omits `Vary` from responses to requests
without an Origin. The browser then keeps an image of an `<img>` for a year, and refuses it to a
page's `fetch`. Litestar also treats every OPTIONS with an Origin as a preflight, and does not see
the middleware's own responses.
"""

import re
from collections.abc import Mapping

Headers = list[tuple[bytes, bytes]]

ANY = "*"
_LOOPBACK = re.compile(rb"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_PREFLIGHT_KEPT_SECONDS = b"600"
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
_ORIGIN, _WANTED_METHOD = b"origin", b"access-control-request-method"
_WANTED_HEADERS = b"access-control-request-headers"
_VARY = (b"vary", b"Origin")


class Cors:
    """CORS for the pages of `origins`: `*` allows all, and an empty tuple allows those of loopback
    names. The service uses no cookies, so a page gains nothing from its user's browser alone."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, request: Mapping[bytes, bytes]) -> Headers:
        """The CORS headers of every response to this request. They are the same for every origin if
        all are allowed; else they include `Vary`, even without an Origin (RFC 9110 section
        12.5.5)."""
        if self._any:
            return [(_ALLOW_ORIGIN, b"*"), (b"access-control-expose-headers", _EXPOSED)]
        origin = request.get(_ORIGIN)
        if origin is None or not self._allows(origin):
            return [_VARY]
        return [
            (_ALLOW_ORIGIN, origin),
            (b"access-control-expose-headers", _EXPOSED),
            _VARY,
        ]

    def preflight(self, method: str, request: Mapping[bytes, bytes]) -> Headers | None:
        """The headers of a preflight's response, in addition to `headers`; None for any other
        request. Only `Access-Control-Request-Method` makes an OPTIONS a preflight (Fetch Standard,
        section 3.2.2). Empty for a page that is not allowed."""
        if method != "OPTIONS" or _ORIGIN not in request or _WANTED_METHOD not in request:
            return None
        if not self._allows(request[_ORIGIN]):
            return []
        found = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", _PREFLIGHT_KEPT_SECONDS),
        ]
        if _WANTED_HEADERS in request:
            found.append((b"access-control-allow-headers", request[_WANTED_HEADERS]))
        return found

    def _allows(self, origin: bytes) -> bool:
        if self._any:
            return True
        if self._origins:
            return origin in self._origins
        return _LOOPBACK.fullmatch(origin) is not None
