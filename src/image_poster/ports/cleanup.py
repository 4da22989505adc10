"""What is left to remove after a deletion was answered."""

from typing import Protocol


class Cleanup(Protocol):
    """Remembers deleted posts until everything of them is gone, so that a crash only delays it."""

    async def pending(self, limit: int) -> list[str]:
        """Ids of deleted posts of which something is left, longest deleted first."""
        ...

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        """Remove up to `limit` comments of a deleted post; False when none was left."""
        ...

    async def done(self, post_id: str) -> None:
        """Everything of this deleted post is gone."""
        ...

    async def forget(self, before_ms: int) -> None:
        """Forget who deleted what before that time (repeating those deletions is a 404 from now on)
        and receipts from before it. Posts of which something is left are kept."""
        ...
