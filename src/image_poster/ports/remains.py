"""What is left of a deleted post."""

from typing import Protocol


class Remains(Protocol):
    """Removes in small steps, so that a crash only delays it."""

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        """Remove up to `limit` comments of a deleted post; False when none was left."""
        ...

    async def done(self, post_id: str) -> None:
        """Everything of this deleted post is gone."""
        ...
