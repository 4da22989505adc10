"""Copies of pictures near those who look at them."""

from typing import Protocol


class PictureCache(Protocol):
    """A content delivery network in front of the pictures."""

    async def forget(self, post_id: str) -> None:
        """Have all copies of the post's pictures dropped, soon."""
        ...
