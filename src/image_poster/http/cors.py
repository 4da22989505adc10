"""Pages of other origins: who may call, and what they may read (Fetch Standard, section 3.2).

Our own and not Litestar's, because that one leaves `Vary` out of answers to requests without an
Origin (an image that an `<img>` asked for is then kept by the browser for a year and given to a
page's `fetch`, which is refused it), takes every OPTIONS with an Origin for a preflight, and does
not see what the middleware answers by itself.
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
    """The pages of `origins` may call: `*` means all, nothing means those of loopback names. No
    cookies are used, so no page gets at anything by its user's browser alone."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, request: Mapping[bytes, bytes]) -> Headers:
        """What every answer to this request carries; the same for every origin if all may call,
        and else `Vary`, also when there was none (RFC 9110 section 12.5.5)."""
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
        """What the answer to a preflight says beside `headers`; None for any other request. Only
        `Access-Control-Request-Method` makes a preflight of an OPTIONS (Fetch Standard, section
        3.2.2). A page that may not call is told nothing."""
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
