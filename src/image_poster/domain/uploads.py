"""Uploads: their terms, and how the bytes of a reserved post may come in."""

from typing import NamedTuple

import msgspec

from image_poster.domain.ids import EARLIEST_MS, milliseconds_of
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.domain.posts import PostTexts, StoredPost

_ANY_BYTES = "application/octet-stream"


class Upload(msgspec.Struct, frozen=True):
    """An upload's terms: `length` in bytes, None while deferred; `expires_ms` since 1970;
    `metadata` as the client sent it, to be given back (tus 1.0.0, Creation, Upload-Metadata);
    `sha256` of the whole, and its `content_type`, if they were announced."""

    length: int | None
    expires_ms: int
    metadata: str = ""
    sha256: bytes = b""
    content_type: str = ""

    @property
    def put_terms(self) -> "PutTerms | None":
        """What may be put in one go; None while nobody knows how much that is."""
        if self.length is None:
            return None
        return PutTerms(self.content_type or _ANY_BYTES, self.length, self.sha256)


def is_unreal(expires_ms: int, now_ms: int) -> bool:
    """Check for an expiry of a wall clock that was years behind, and is right now."""
    return expires_ms < EARLIEST_MS <= now_ms


def has_expired(post_id: str, expires_ms: int, *, service_ms: int, now_ms: int) -> bool:
    """Check that an upload has been awaited for its whole lifetime.

    The service clock tells how old the post's id is. The wall clock may only prolong that, and only
    by an expiry that it can have set: one within the next lifetime, or a wrong one (`is_unreal`).
    """
    if service_ms - milliseconds_of(post_id) < UPLOAD_KEPT_MS:
        return False
    is_ahead = now_ms < expires_ms <= now_ms + UPLOAD_KEPT_MS
    return not is_ahead and not is_unreal(expires_ms, now_ms)


class UploadOrder(NamedTuple):
    """What is to come: `length` in bytes, None if it is said later; `metadata` as sent by tus;
    `sha256` of the whole, and its `content_type`, or nothing."""

    length: int | None
    texts: PostTexts = PostTexts()
    metadata: str = ""
    sha256: bytes = b""
    content_type: str = ""


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
    """Resumable at the URL `tus`, or in one go, unless nobody knows yet how much will come."""

    tus: str
    put: PutTarget | None


class UnfinishedPost(NamedTuple):
    """A post that is not ready, and the terms of its upload, if it came or comes as one."""

    stored: StoredPost
    upload: Upload | None
