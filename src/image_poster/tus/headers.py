"""The protocol's headers: text in, values out. Each raises `InvalidTusRequestError`."""

import binascii
import re
from base64 import b64decode
from typing import NamedTuple

from image_poster.domain.errors import InvalidTusRequestError, TusVersionUnsupportedError, invalid
from image_poster.tus import CHECKSUM_ALGORITHMS, CONTENT_TYPE, VERSION

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_METADATA_MAX_CHARACTERS = 64 * 1024
# Printable ASCII without space and comma (Creation, Upload-Metadata).
_METADATA_KEY = re.compile(r"[!-+\--~]+")


class Checksum(NamedTuple):
    """Of one PATCH's body."""

    algorithm: str
    digest: bytes


def check_version(resumable: str | None) -> None:
    """Core, Tus-Resumable: any other version MUST be answered with 412 and MUST NOT be
    processed."""
    if resumable != VERSION:
        raise TusVersionUnsupportedError


def has_bytes(content_type: str | None) -> bool:
    """Core, PATCH: whether the type is the one that a body with bytes of an upload MUST have."""
    return (content_type or "").partition(";")[0].strip().lower() == CONTENT_TYPE


def number(name: str, text: str | None) -> int:
    """A non-negative integer (Core, Upload-Offset and Upload-Length)."""
    if text is None or not _NUMBER.fullmatch(text):
        raise InvalidTusRequestError(f"{name} must be a non-negative whole number.")
    return int(text)


def new_length(length: str | None, defer: str | None) -> int | None:
    """Of a creation: Upload-Length, or None if it is deferred (Creation, POST: exactly one of both,
    and Upload-Defer-Length can only be 1)."""
    if defer is not None and (defer != "1" or length is not None):
        raise InvalidTusRequestError("Send Upload-Length, or Upload-Defer-Length: 1, not both.")
    return None if defer is not None else number("Upload-Length", length)


def metadata(header: str | None) -> dict[str, str]:
    """Upload-Metadata: comma-separated pairs of a key and a Base64 value, which may be missing;
    keys MUST NOT be empty and MUST be unique (Creation, Upload-Metadata)."""
    found: dict[str, str] = {}
    if header is None or not header.strip():
        return found
    if len(header) > _METADATA_MAX_CHARACTERS:
        raise InvalidTusRequestError("Upload-Metadata is too long.")
    for pair in header.split(","):
        key, _, value = pair.strip().partition(" ")
        if not _METADATA_KEY.fullmatch(key) or key in found:
            raise InvalidTusRequestError(
                "Upload-Metadata must have unique keys of printable ASCII."
            )
        found[key] = _decoded(key, value.strip())
    return found


def _decoded(key: str, value: str) -> str:
    try:
        raw = b64decode(value, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidTusRequestError(f"Upload-Metadata: {key} must be Base64.") from exc
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise invalid(key, "must be UTF-8") from exc


def checksum(header: str | None) -> Checksum | None:
    """Upload-Checksum: an algorithm's name and the Base64 of the digest (Checksum). An algorithm
    that is not supported MUST be answered with 400."""
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    if algorithm not in CHECKSUM_ALGORITHMS:
        known = " or ".join(CHECKSUM_ALGORITHMS)
        raise InvalidTusRequestError(f"Upload-Checksum must be of {known}.")
    try:
        return Checksum(algorithm, b64decode(encoded, validate=True))
    except (binascii.Error, ValueError) as exc:
        raise InvalidTusRequestError("Upload-Checksum must have the digest in Base64.") from exc
