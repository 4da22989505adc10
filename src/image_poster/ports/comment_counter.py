"""Counting comments after they were answered."""

from collections.abc import Iterable
from typing import Protocol


class CommentCounter(Protocol):
    """Brings posts' counts and latest comments up to date; exact however often it is asked."""

    async def count(self, post_id: str, comment_ids: Iterable[str]) -> None:
        """Take into account what these comments of the post are now: new, edited, deleted, or
        counted long ago. Those of a post that is gone are removed."""
        ...
