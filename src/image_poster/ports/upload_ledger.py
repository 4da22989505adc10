"""What is known of resumable uploads, beside their bytes and their posts."""

from typing import Protocol

from image_poster.tus.decisions import Upload


class UploadLedger(Protocol):
    """Keeps the terms of uploads by post id; `PostStore.add` adds them together with the post."""

    async def find(self, post_id: str) -> Upload | None:
        """The terms, also when the upload is complete."""
        ...

    async def declare_length(self, post_id: str, length: int) -> None:
        """Set a length that was deferred. A no-op if it is set."""
        ...

    async def was_removed(self, post_id: str) -> bool:
        """Whether there was such a post, and it was deleted or expired lately."""
        ...

    async def awaiting(self) -> list[tuple[str, Upload]]:
        """The uploads whose posts are `awaiting_upload`."""
        ...
