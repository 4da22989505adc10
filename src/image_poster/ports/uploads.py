"""Resumable uploads: their bytes until they are complete, their records, and signed URLs."""

from typing import NamedTuple, Protocol

from image_poster.domain.uploads import PutTarget, PutTerms, Upload


class UploadWriter(Protocol):
    """The right to append to one upload, until somebody else takes it: then `superseded` is true,
    and in the same process the task that took it first is cancelled."""

    offset: int
    superseded: bool

    async def write(self, chunk: bytes) -> None:
        """Append. Raises `UploadTakenOverError` with nothing written once it is somebody else's,
        and `StorageFullError`."""
        ...

    async def rewind(self, offset: int) -> None:
        """Drop what lies behind `offset`. Raises `UploadTakenOverError`."""
        ...

    async def commit(self) -> None:
        """All that was written is right, and there for good. Raises `UploadTakenOverError`, and
        `StorageFullError`."""
        ...

    async def close(self) -> None:
        """Let go. What was written and not committed is kept, unless it was to be verified or the
        store takes whole pieces only. Never raises `UploadTakenOverError`."""
        ...


class UploadStore(Protocol):
    """Keeps the bytes of uploads by post id. Whatever was received is there after a crash.
    `ImageStore.remove` drops them with everything else of a post."""

    async def take(
        self, post_id: str, *, unverified: bool = False, offset_hint: int | None = None
    ) -> UploadWriter:
        """Take the upload over, at once, from whoever has it, in whatever process.

        What is appended `unverified` is dropped by a crash, and kept by `close`. `offset_hint` is
        the offset that the upload's record had just now, if it has one.
        """
        ...

    async def offset(self, post_id: str, *, offset_hint: int | None = None) -> int:
        """How many bytes are there; asking takes the upload over. 0 if there is nothing."""
        ...

    async def promote(self, post_id: str, sha256: bytes) -> None:
        """Make the bytes the post's original, durably. Repeating it is a no-op.

        Raises `ChecksumMismatchError`, with nothing kept of them, if they are not those of
        `sha256`; nothing given, nothing compared.
        """
        ...


class CountableUploads(UploadStore, Protocol):
    """Where it can be seen how much is there without disturbing who brings it."""

    async def received(self, post_id: str) -> int:
        """How many bytes are there, perhaps not verified yet; 0 if there is nothing."""
        ...


class UploadRecord(NamedTuple):
    """Whose upload it is, whether it still awaits bytes, and its terms; `offset` where the record
    has it, too."""

    creator: str
    awaiting: bool
    upload: Upload
    offset: int | None = None


class UploadRecordStore(Protocol):
    """Keeps the terms of uploads by post id; `PostStore.add` adds them together with the post."""

    async def find(self, post_id: str) -> UploadRecord | None:
        """The record, also when the upload is complete. Raises `UploadGoneError` if there was such
        a post, and it was deleted or expired lately."""
        ...

    async def declare_length(self, post_id: str, length: int) -> None:
        """Set a length that was deferred. A no-op if it is set."""
        ...

    async def count_refused(self, post_id: str, size: int) -> int:
        """Count bytes that were sent for the upload and are not kept; how many those are by now.
        0, with nothing counted, if it awaits none."""
        ...


class AwaitedUploads(Protocol):
    """For stores that do not expire anything by themselves."""

    async def awaiting(self, after: str, limit: int) -> list[tuple[str, Upload]]:
        """The next `limit` uploads whose posts are `awaiting_upload`, by id: the oldest first, and
        so in the order in which they expire."""
        ...

    async def set_expiry(self, post_id: str, expires_ms: int) -> None:
        """Replace the expiry (since 1970) of an awaited upload."""
        ...

    async def move_expiries(self, by_ms: int, *, before_ms: int) -> None:
        """The wall clock was set by so much when it showed `before_ms`: move the expiries of
        awaited uploads with it, if they lay within the next lifetime."""
        ...


class UploadOffsets(Protocol):
    """How far uploads are, where their pieces cannot tell: one number an upload, moved on by
    whoever saw it last."""

    async def find(self, post_id: str) -> int:
        """The offset in bytes; 0 for what is not there. Sees every `advance` that returned."""
        ...

    async def advance(self, post_id: str, start: int, end: int) -> bool:
        """Move from `start` to `end`; False, with nothing changed, if the upload is not at `start`
        or awaits nothing any more."""
        ...


class PutUrlSigner(Protocol):
    """Makes URLs that take an image and that only their signature protects."""

    def sign(self, post_id: str, terms: PutTerms, expires_ms: int) -> PutTarget:
        """A URL for the post's image, good until `expires_ms` (since 1970) or earlier."""
        ...
