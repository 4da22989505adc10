"""Starting image work where it is not taken from a queue of posts."""

from typing import Protocol


class ImageWork(Protocol):
    """Starts the work of one post, at least once."""

    async def begin(self, post_id: str) -> None:
        """All pieces of the post's picture are there. Repeating it is harmless."""
        ...
