"""The feed."""

from typing import Protocol

from image_poster.domain.feed import FeedPage, FeedQuery


class FeedReader(Protocol):
    """Reads the ready posts in either order, at a cost that depends on the page's length only."""

    def version(self) -> int | None:
        """A number that changes with every write that could change a page, so that pages can be
        remembered meanwhile; None where that cannot be told for less than the page itself."""
        ...

    async def page(self, query: FeedQuery) -> FeedPage:
        """The page that `query` asks for. An empty page has no next."""
        ...
