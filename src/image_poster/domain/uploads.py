"""Uploads: their terms, and how the bytes of a reserved post may come in."""

from typing import NamedTuple

import msgspec

from image_poster.domain.posts import PostTexts


class Upload(msgspec.Struct, frozen=True):
    """An upload's terms: `length` in bytes, None while deferred; `expires_ms` since 1970;
    `metadata` as the client sent it, to be given back (tus 1.0.0, Creation, Upload-Metadata);
    `sha256` of the whole, if it was announced."""

    length: int | None
    expires_ms: int
    metadata: str = ""
    sha256: bytes = b""


class UploadOrder(NamedTuple):
    """What is to come: `length` in bytes, None if it is said later; `metadata` as sent by tus;
    `sha256` of the whole, or nothing."""

    length: int | None
    texts: PostTexts = PostTexts()
    metadata: str = ""
    sha256: bytes = b""


class PutTerms(NamedTuple):
    """What may be put at a signed URL: its media type, its size in bytes, and its SHA-256 or
    nothing."""

    content_type: str
    size: int
    sha256: bytes


class PutTarget(msgspec.Struct, frozen=True):
    """A signed URL that takes the whole image in one `PUT` until `expires_at` (RFC 3339), with
    exactly these headers. It may be relative to the service, or lead elsewhere."""

    url: str
    headers: dict[str, str]
    expires_at: str


class UploadTargets(msgspec.Struct, frozen=True):
    """Resumable at the URL `tus`, or in one go."""

    tus: str
    put: PutTarget
