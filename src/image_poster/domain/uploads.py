"""Uploads: their terms, and the ways to send the bytes of a reserved post."""

from typing import NamedTuple

import msgspec

from image_poster.domain.ids import EARLIEST_MS, milliseconds_of
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.domain.posts import PostTexts, StoredPost

_ANY_BYTES = "application/octet-stream"


class Upload(msgspec.Struct, frozen=True):
    """An upload's terms: `length` in bytes, None while deferred; `expires_ms` since 1970; `sha256`
    of the whole and `content_type`, if they were announced. `metadata` is returned as the client
    sent it (tus 1.0.0, Creation, Upload-Metadata)."""

    length: int | None
    expires_ms: int
    metadata: str = ""
    sha256: bytes = b""
    content_type: str = ""

    @property
    def put_terms(self) -> "PutTerms | None":
        """The terms of one PUT of the whole image; None while the length is unknown."""
        if self.length is None:
            return None
        return PutTerms(self.content_type or _ANY_BYTES, self.length, self.sha256)


def is_unreal(expires_ms: int, now_ms: int) -> bool:
    """Return True if the expiry was set while the wall clock was years behind; it is right now."""
    return expires_ms < EARLIEST_MS <= now_ms


def has_expired(post_id: str, expires_ms: int, *, service_ms: int, now_ms: int) -> bool:
    """Return True if the upload has been awaited for its whole lifetime.

    The service clock tells the age of the post's id. The wall clock may only prolong the lifetime,
    and only by an expiry that it can have set. That is one within the next lifetime, or a wrong one
    (`is_unreal`). A later expiry was set before the wall clock was set back: then the service clock
    decides. While the wall clock shows a time before `EARLIEST_MS`, it judges no other expiry.
    """
    if service_ms - milliseconds_of(post_id) < UPLOAD_KEPT_MS or is_unreal(expires_ms, now_ms):
        return False
    if now_ms < EARLIEST_MS <= expires_ms:
        return False
    clock_ms = now_ms if expires_ms <= now_ms + UPLOAD_KEPT_MS else service_ms
    return not clock_ms < expires_ms <= clock_ms + UPLOAD_KEPT_MS


class UploadOrder(NamedTuple):
    """A request for a new upload: `length` in bytes, None if deferred; `metadata` as sent by tus;
    `sha256` of the whole and `content_type`, or empty."""

    length: int | None
    texts: PostTexts = PostTexts()
    metadata: str = ""
    sha256: bytes = b""
    content_type: str = ""


class PutTerms(NamedTuple):
    """The terms of a signed URL: the image's media type, its size in bytes, and its SHA-256 or
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
    """The URLs of an upload: `tus` is resumable, `put` takes the whole image (None if its length is
    unknown)."""

    tus: str
    put: PutTarget | None


class OwnPost(NamedTuple):
    """A post for its creator, and the terms of its upload, if it has one."""

    stored: StoredPost
    upload: Upload | None
