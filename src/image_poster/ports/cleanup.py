"""What is left to remove after a deletion was answered."""

from typing import Protocol

from image_poster.ports.remains import Remains


class Cleanup(Remains, Protocol):
    """Remembers deleted posts until everything of them is gone, so that a crash only delays it."""

    async def pending(self, limit: int) -> list[str]:
        """Ids of deleted posts of which something is left, longest deleted first."""
        ...

    async def forget(self, before_ms: int) -> None:
        """Forget who deleted what before that time (repeating those deletions is a 404 from now on)
        and receipts from before it. Posts of which something is left are kept."""
        ...
