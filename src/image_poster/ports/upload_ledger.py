"""What is known of resumable uploads, beside their bytes."""

from typing import NamedTuple, Protocol

from image_poster.tus.decisions import Upload


class LedgerEntry(NamedTuple):
    """Whose upload it is, whether it still awaits bytes, and its terms; `offset` where the ledger
    knows it, too."""

    creator: str
    awaiting: bool
    upload: Upload
    offset: int | None = None


class UploadLedger(Protocol):
    """Keeps the terms of uploads by post id; `PostStore.add` adds them together with the post."""

    async def find(self, post_id: str) -> LedgerEntry | None:
        """What is known, also when the upload is complete. Raises `UploadGoneError` if there was
        such a post, and it was deleted or expired lately."""
        ...

    async def declare_length(self, post_id: str, length: int) -> None:
        """Set a length that was deferred. A no-op if it is set."""
        ...
