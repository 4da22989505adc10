"""Compressed responses: the choice of a coding, and JSON in that coding (RFC 9110 section 8.4).

Images are never compressed again; the gallery's files are compressed when it is built.
"""

import asyncio
import gzip
from collections.abc import Iterable

import brotli

Headers = list[tuple[bytes, bytes]]

MIN_BYTES = 1024
# The better one first (docs/decisions/0027).
CODINGS = ("br", "gzip")
_BROTLI_QUALITY, _GZIP_LEVEL = 5, 5
_JSON = (b"application/json", b"application/problem+json")
_MAX_INLINE_BYTES = 128 * 1024
# The OpenAPI document has some 64 KiB.
_MAX_KEPT, _MAX_KEPT_BYTES = 128, 128 * 1024


def best_coding(accepted: str | None, offered: Iterable[str]) -> str:
    """The first offered coding that the client accepts (RFC 9110 section 12.5.3); empty if it
    accepts none."""
    weights = {}
    for entry in (accepted or "").lower().split(","):
        name, _, parameters = entry.partition(";")
        weights[name.strip()] = not _is_zero(parameters)
    usable = (name for name in offered if weights.get(name, weights.get("*", False)))
    return next(usable, "")


def _is_zero(parameters: str) -> bool:
    name, _, value = parameters.replace(" ", "").partition("=")
    return name == "q" and value.strip("0.") == ""


def is_json(headers: Headers) -> bool:
    """True if a response is JSON."""
    return any(name == b"content-type" and value.startswith(_JSON) for name, value in headers)


class Compressor:
    """Compresses JSON, and caches small results. So the same bytes, such as a cached page of the
    feed, are compressed once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, bytes], bytes] = {}

    async def compressed(self, body: bytes, coding: str) -> bytes:
        """The body in one of `CODINGS`."""
        # The hash of bytes is kept with them, so asking again for the same object costs nothing.
        found = self._kept.get((coding, body))
        if found is not None:
            return found
        if len(body) > _MAX_INLINE_BYTES:
            return await asyncio.to_thread(_compressed, body, coding)
        found = _compressed(body, coding)
        if len(body) <= _MAX_KEPT_BYTES:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[coding, body] = found
        return found


def _compressed(body: bytes, coding: str) -> bytes:
    if coding == "br":
        return brotli.compress(body, mode=brotli.MODE_TEXT, quality=_BROTLI_QUALITY)  # type: ignore[no-any-return]
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)


def encoded_headers(headers: Headers, coding: str, size: int) -> Headers:
    """The headers of a response whose body has `size` bytes in that coding (empty for none). They
    include `Vary` and a weak ETag, as a strong one must not name different bytes (RFC 9110 section
    8.8.3.3)."""
    found = with_length(headers, size)
    found.append((b"vary", b"Accept-Encoding"))
    if not coding:
        return found
    found.append((b"content-encoding", coding.encode()))
    return [(name, _weak(value) if name == b"etag" else value) for name, value in found]


def with_length(headers: Headers, size: int) -> Headers:
    """The headers with the Content-Length of a body of `size` bytes."""
    length = str(size).encode()
    return [(name, length if name == b"content-length" else value) for name, value in headers]


def _weak(etag: bytes) -> bytes:
    return etag if etag.startswith(b"W/") else b"W/" + etag
