"""The tus resumable upload protocol, version 1.0.0, without I/O: parsers of its headers, and all
decisions that depend on an upload's state.

Source: https://tus.io/protocols/resumable-upload (1.0.0, 2016-03-25); rules cite its section.
Parsers raise `InvalidTusRequestError`. Both editions use this module; it uses neither HTTP
frameworks nor stores.
"""

import binascii
import hashlib
import re
from base64 import b64decode
from collections.abc import Container
from typing import NamedTuple

from image_poster.domain.errors import (
    ConcatenationUnsupportedError,
    InvalidTusRequestError,
    OffsetMismatchError,
    TusVersionUnsupportedError,
    UploadTooLargeError,
    invalid,
)
from image_poster.domain.uploads import Upload

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "termination",
    "checksum",
)
CHECKSUM_ALGORITHMS = ("sha1", "sha256")
CONTENT_TYPE = "application/offset+octet-stream"

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
METADATA_MAX_BYTES = 8 * 1024
# Printable ASCII without space and comma (Creation, Upload-Metadata).
_METADATA_KEY = re.compile(r"[!-+\--~]+")
_BASE64_TEXT = re.compile(r"[A-Za-z0-9+/]*")
_URL_SAFE_TEXT = re.compile(r"[A-Za-z0-9_-]*={0,2}")


class Checksum(NamedTuple):
    """The checksum of one PATCH's body."""

    algorithm: str
    digest: bytes


def check_version(resumable: str | None) -> None:
    """Check Tus-Resumable (Core): any other version MUST be answered with 412 and MUST NOT be
    processed."""
    if resumable != VERSION:
        raise TusVersionUnsupportedError


def has_bytes(content_type: str | None) -> bool:
    """Return True if the type is the one that a body with bytes of an upload MUST have (Core,
    PATCH)."""
    return (content_type or "").partition(";")[0].strip().lower() == CONTENT_TYPE


def number(name: str, text: str | None) -> int:
    """Parse a non-negative integer (Core, Upload-Offset and Upload-Length)."""
    if text is None or not _NUMBER.fullmatch(text):
        raise InvalidTusRequestError(f"{name} must be a non-negative whole number.")
    return int(text)


def check_not_joined(concat: str | None) -> None:
    """Refuse Upload-Concat at creation: the extension Concatenation is not offered. The status is
    400, since tus-js-client retries on any from 500 on."""
    if concat is not None:
        raise ConcatenationUnsupportedError


def new_length(length: str | None, defer: str | None) -> int | None:
    """The Upload-Length of a creation, or None if it is deferred (Creation, POST: exactly one of
    both, and Upload-Defer-Length can only be 1)."""
    if defer is not None and (defer != "1" or length is not None):
        raise InvalidTusRequestError("Send Upload-Length, or Upload-Defer-Length: 1, not both.")
    return None if defer is not None else number("Upload-Length", length)


def metadata(header: str | None) -> dict[str, str]:
    """Parse Upload-Metadata: comma-separated pairs of a key and a Base64 value, which may be
    missing. Keys MUST NOT be empty and MUST be unique (Creation, Upload-Metadata)."""
    pairs: dict[str, str] = {}
    if header is None or not header.strip():
        return pairs
    if len(header) > METADATA_MAX_BYTES:
        raise InvalidTusRequestError(
            f"Upload-Metadata has {len(header)} bytes; the limit is {METADATA_MAX_BYTES}. For "
            "longer texts, reserve the post with POST /posts as JSON, and send to its `upload.tus`."
        )
    for pair in header.split(","):
        key, _, value = pair.strip().partition(" ")
        _check_key(key, pairs)
        pairs[key] = _decoded(key, value.strip())
    return pairs


def _check_key(key: str, keys: Container[str]) -> None:
    if not key:
        raise InvalidTusRequestError(
            "Upload-Metadata has a comma at its start or end, or two in a row: leave it out."
        )
    if not _METADATA_KEY.fullmatch(key):
        raise InvalidTusRequestError("Upload-Metadata must have keys of printable ASCII.")
    if key in keys:
        raise InvalidTusRequestError(f"Upload-Metadata has the key {key} twice: send it once.")


def _decoded(key: str, value: str) -> str:
    try:
        # Half of a surrogate pair passes here: `domain.limits.clean` names it.
        return _base64(f"Upload-Metadata: {key}", value).decode(errors="surrogatepass")
    except UnicodeDecodeError as exc:
        raise invalid(key, "must be UTF-8") from exc


def checksum(header: str | None) -> Checksum | None:
    """Parse Upload-Checksum: an algorithm's name and the Base64 of the digest (Checksum). An
    unsupported algorithm MUST be answered with 400."""
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    name = f"Upload-Checksum: {algorithm}"
    if algorithm not in CHECKSUM_ALGORITHMS:
        known = " or ".join(CHECKSUM_ALGORITHMS)
        raise InvalidTusRequestError(f"Upload-Checksum must use {known}.")
    digest = _base64(name, encoded.strip())
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    if len(digest) != size:
        raise InvalidTusRequestError(
            f"{name} must be followed by a digest of {size} bytes in Base64, not of {len(digest)}."
        )
    return Checksum(algorithm, digest)


def _base64(name: str, text: str) -> bytes:
    """Decode a Base64 `text` (RFC 4648 section 4); `name` is the subject of the error's
    sentence."""
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidTusRequestError(f"{name} {_base64_fault(text)}") from exc


def _base64_fault(text: str) -> str:
    if _BASE64_TEXT.fullmatch(text):
        return "is Base64 without its padding: add `=` until its length is a multiple of 4."
    if _URL_SAFE_TEXT.fullmatch(text):
        return "is URL-safe Base64: use `+` and `/` where it has `-` and `_`."
    return "must be Base64 (RFC 4648 section 4)."


def check_new_length(length: int | None, longest: int) -> None:
    """Check the length of a new upload. Creation, POST: a length over Tus-Max-Size MUST be answered
    with 413."""
    if length is not None and length > longest:
        raise UploadTooLargeError
    if length == 0:
        raise InvalidTusRequestError("Upload-Length must be at least 1.")


def length_to_declare(
    upload: Upload, declared: int | None, offset: int, longest: int
) -> int | None:
    """The length that a PATCH declares for a deferred upload; None if it declares no new one.

    Creation: once set, the length MUST NOT change. It cannot be less than the bytes received.
    """
    if declared is None or declared == upload.length:
        return None
    if upload.length is not None or declared < offset:
        raise InvalidTusRequestError("Upload-Length cannot be changed.")
    check_new_length(declared, longest)
    return declared


def bytes_allowed(
    upload: Upload, offset: int, start: int, declared_bytes: int | None, longest: int
) -> int:
    """The most bytes that a PATCH may bring: the upload is at `offset`, the request begins at
    `start`.

    Core, PATCH: if the offsets differ, 409 without changing anything. A body with a declared length
    beyond the rest is refused before it is read.
    """
    if start != offset:
        raise OffsetMismatchError
    left = (longest if upload.length is None else upload.length) - offset
    check_fits(upload, left, declared_bytes or 0)
    return left


def check_fits(upload: Upload, left: int, size: int) -> None:
    """Check that `size` more bytes are at most `left`. Raises `UploadTooLargeError`, which names
    the announced length if there is one."""
    if size <= left:
        return
    if upload.length is None:
        raise UploadTooLargeError
    raise UploadTooLargeError(
        f"The request has more bytes than the announced length of {upload.length} leaves. Create a "
        "new upload with the image's size."
    )


def repeats_the_end(
    upload: Upload, offset: int, start: int | None, declared_bytes: int | None
) -> bool:
    """Return True if a PATCH to a complete upload repeats its last piece, because the answer was
    lost.

    Beyond the protocol, which answers 409 here as for any other wrong offset. So a client without
    an answer to its last piece learns that the upload is complete, and need not ask for the offset.
    """
    if not is_complete(upload, offset) or start is None or not declared_bytes:
        return False
    return start + declared_bytes == upload.length


def is_complete(upload: Upload, offset: int) -> bool:
    """Return True if all bytes are there."""
    return upload.length is not None and offset >= upload.length
