"""Resumable uploads: their bytes until completion, their records and quotas, and signed URLs."""

from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from image_poster.domain.uploads import PutTarget, PutTerms, Upload


class UploadWriter(Protocol):
    """The right to append to one upload, until another request takes it over. Then `superseded` is
    true; in the same process, the task that held it is cancelled."""

    offset: int
    superseded: bool

    async def write(self, chunk: bytes) -> None:
        """Append. Raises `UploadTakenOverError`, with nothing written, once superseded, and
        `StorageFullError`."""
        ...

    async def rewind(self, offset: int) -> None:
        """Drop the bytes behind `offset`. Raises `UploadTakenOverError`."""
        ...

    async def commit(self) -> None:
        """Make all written bytes durable, as verified. Raises `UploadTakenOverError`, and
        `StorageFullError`."""
        ...

    async def close(self) -> None:
        """Release the upload. Uncommitted bytes are kept, unless they are unverified or the store
        accepts whole pieces only. Never raises `UploadTakenOverError`."""
        ...


class UploadStore(Protocol):
    """Stores the bytes of uploads by post id. Received bytes survive a crash. `ImageStore.remove`
    drops them with all other files of a post."""

    async def take(
        self, post_id: str, *, unverified: bool = False, offset_hint: int | None = None
    ) -> UploadWriter:
        """Take the upload over, at once, from any other request in any process.

        Bytes appended `unverified` are dropped by a crash, and kept by `close`. `offset_hint` is
        the latest offset in the upload's record, if it has one.
        """
        ...

    async def offset(self, post_id: str, *, offset_hint: int | None = None) -> int:
        """The number of received bytes, 0 if there are none. The call takes the upload over."""
        ...

    async def promote(self, post_id: str, sha256: bytes) -> None:
        """Make the bytes the post's original, durably. Repeating it is a no-op.

        Raises `ChecksumMismatchError`, with no bytes kept, if their SHA-256 is not `sha256`. An
        empty `sha256` is not compared.
        """
        ...


class CountableUploads(UploadStore, Protocol):
    """Stores that tell the offset without taking the upload over (one machine)."""

    async def received(self, post_id: str) -> int:
        """The number of received bytes, perhaps not verified yet; 0 if there are none."""
        ...


class UploadRecord(NamedTuple):
    """An upload's creator, True if it still awaits bytes, and its terms; `offset` if the record has
    it."""

    creator: str
    awaiting: bool
    upload: Upload
    offset: int | None = None


class UploadRecordStore(Protocol):
    """Stores the terms of uploads by post id; `PostStore.add` adds them together with the post."""

    async def find(self, post_id: str) -> UploadRecord | None:
        """The record, also when the upload is complete. Raises `UploadGoneError` if the post was
        deleted or expired lately."""
        ...

    async def declare_length(self, post_id: str, length: int) -> None:
        """Set a deferred length. A no-op if it is set."""
        ...

    async def count_refused(self, post_id: str, size: int) -> int:
        """Count bytes that were sent for the upload and discarded; return their total. 0, with
        nothing counted, if it awaits no bytes."""
        ...


class AwaitedUploads(Protocol):
    """Uploads of stores without an expiry of their own (one machine)."""

    async def awaiting(self, after: str, limit: int) -> list[tuple[str, Upload]]:
        """The next `limit` uploads whose posts are `awaiting_upload`, by id: the oldest first, and
        so in the order in which they expire."""
        ...

    async def set_expiry(self, post_id: str, expires_ms: int) -> None:
        """Replace the expiry (since 1970) of an awaited upload."""
        ...

    async def move_expiries(self, by_ms: int, *, before_ms: int) -> None:
        """Move the expiries of awaited uploads by `by_ms`, if they lay within the next lifetime.
        The wall clock was set by as much when it showed `before_ms`."""
        ...


class UploadQuota(Protocol):
    """Quotas for the bytes that a user sends in a day (UTC), and for unfinished uploads.

    The stores count what they store. `PostStore.add` counts the bytes of an image that came within
    one request, and reserves those of an upload. That reservation follows its post:
    `PostStore.update` ends it when the post no longer awaits its bytes, and `PostStore.remove`
    returns its bytes. `UploadRecordStore.declare_length` sets its real size.
    """

    def reserve(self, user: str, size: int) -> AbstractAsyncContextManager[None]:
        """Reserve `size` bytes and an unfinished upload in memory, while the context lasts and an
        image arrives within one request. Raises `RateLimitedError`, with nothing reserved, if the
        user has too many unfinished uploads, or too many bytes today."""
        ...

    async def charge(self, user: str, size: int) -> None:
        """Count bytes that were sent and discarded, durably. They may exceed the quota."""
        ...


class PutUrlSigner(Protocol):
    """Signs URLs that accept an image; their signature is their only protection."""

    def sign(self, post_id: str, terms: PutTerms, expires_ms: int) -> PutTarget:
        """A URL for the post's image, valid until `expires_ms` (since 1970) or earlier."""
        ...
