"""The feed."""

from dataclasses import dataclass

from image_poster.domain.feed import FeedPosition, FeedQuery, FeedSort
from image_poster.domain.posts import StoredPost
from image_poster.domain.signing import CursorSigner, Page
from image_poster.ports.feed import FeedReader


@dataclass(frozen=True)
class FeedService:
    """A page is one query."""

    feed: FeedReader
    cursors: CursorSigner

    def version(self) -> int | None:
        """`FeedReader.version`: while it stays, so does every page."""
        return self.feed.version()

    async def page(
        self, *, sort: FeedSort, limit: int, cursor: str | None, creator: str | None
    ) -> Page[StoredPost, str]:
        """The page after `cursor`, which must come from the same sort and creator; else raises
        `InvalidCursorError`."""
        list_name = f"feed:{sort}:{creator or ''}"
        after = self.cursors.read(list_name, cursor, FeedPosition)
        query = FeedQuery(sort=sort, limit=limit, creator=creator, after=after)
        return self.cursors.signed(list_name, await self.feed.page(query))
