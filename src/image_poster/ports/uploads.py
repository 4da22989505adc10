"""The bytes of resumable uploads, until they are complete."""

from typing import NamedTuple, Protocol

from image_poster.domain.uploads import PutTarget
from image_poster.tus.decisions import Upload


class UploadWriter(Protocol):
    """The right to append to one upload, until somebody else takes it: then `taken` is true, and in
    the same process the task that took it first is cancelled."""

    offset: int
    taken: bool

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
    `PictureStore.remove` drops them with everything else of a post."""

    async def take(
        self, post_id: str, *, unverified: bool = False, known: int | None = None
    ) -> UploadWriter:
        """Take the upload over, at once, from whoever has it, in whatever process.

        What is appended `unverified` is dropped by a crash, and kept by `close`. `known` is the
        offset that the ledger knew of just now, if it did.
        """
        ...

    async def offset(self, post_id: str, *, known: int | None = None) -> int:
        """How many bytes are there; asking takes the upload over. 0 if there is nothing."""
        ...

    async def promote(self, post_id: str, sha256: bytes) -> None:
        """Make the bytes the post's original, durably. Repeating it is a no-op.

        Raises `ChecksumMismatchError`, with nothing kept of them, if they are not those of
        `sha256`; nothing given, nothing compared.
        """
        ...


class UploadRecord(NamedTuple):
    """Whose upload it is, whether it still awaits bytes, and its terms; `offset` where the ledger
    knows it, too."""

    creator: str
    awaiting: bool
    upload: Upload
    offset: int | None = None


class UploadRecordStore(Protocol):
    """Keeps the terms of uploads by post id; `PostStore.add` adds them together with the post."""

    async def find(self, post_id: str) -> UploadRecord | None:
        """What is known, also when the upload is complete. Raises `UploadGoneError` if there was
        such a post, and it was deleted or expired lately."""
        ...

    async def declare_length(self, post_id: str, length: int) -> None:
        """Set a length that was deferred. A no-op if it is set."""
        ...


class AwaitedUploads(Protocol):
    """For stores that do not expire anything by themselves."""

    async def all(self) -> list[tuple[str, Upload]]:
        """The uploads whose posts are `awaiting_upload`, by id."""
        ...


class UploadOffsets(Protocol):
    """One number an upload, moved on by whoever saw it last."""

    async def find(self, post_id: str) -> int:
        """The offset in bytes; 0 for what is not there. Sees every `advance` that returned."""
        ...

    async def advance(self, post_id: str, start: int, end: int) -> bool:
        """Move from `start` to `end`; False, with nothing changed, if the upload is not at `start`
        or awaits nothing any more."""
        ...


class PutTerms(NamedTuple):
    """What may be put: its media type, its size in bytes, and its SHA-256 or nothing."""

    content_type: str
    size: int
    sha256: bytes


class PutUrlSigner(Protocol):
    """Makes URLs that only their signature protects."""

    def sign(self, post_id: str, terms: PutTerms, expires_ms: int) -> PutTarget:
        """A URL for the post's picture, good until `expires_ms` (since 1970) or earlier."""
        ...
