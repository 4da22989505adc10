"""How often the image work of a post has failed through our fault."""

from typing import Protocol


class FailureCounter(Protocol):
    """For editions where something else than a queue of ours delivers the work again."""

    async def note(self, post_id: str, error: str) -> int:
        """Count a failure; how many there are now. 0 if the post is gone."""
        ...

    async def clear(self, post_id: str) -> None:
        """Begin anew. A no-op if the post is gone."""
        ...
