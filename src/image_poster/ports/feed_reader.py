"""The feed."""

from typing import Protocol

from image_poster.domain.feed import FeedPage, FeedQuery


class FeedReader(Protocol):
    """Reads the ready posts in either order, at a cost that depends on the page's length only."""

    async def page(self, query: FeedQuery) -> FeedPage:
        """The page that `query` asks for. An empty page has no next."""
        ...
