"""How far resumable uploads are, where their pieces cannot tell."""

from typing import Protocol


class UploadOffsets(Protocol):
    """One number an upload, moved on by whoever saw it last."""

    async def find(self, post_id: str) -> int:
        """The offset in bytes; 0 for what is not there. Sees every `advance` that returned."""
        ...

    async def advance(self, post_id: str, start: int, end: int) -> bool:
        """Move from `start` to `end`; False, with nothing changed, if the upload is not at `start`
        or awaits nothing any more."""
        ...
