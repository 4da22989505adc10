"""The bytes of resumable uploads, until they are complete."""

from typing import Protocol


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
