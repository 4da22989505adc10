"""Read a page of the feed."""

from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.feed import FeedPosition, FeedQuery, FeedSort
from image_poster.domain.pages import CursorSigner
from image_poster.domain.posts import StoredPost
from image_poster.ports.feed import FeedReader


class Feed(NamedTuple):
    """Posts in order, and the cursor of the next page (None: this was the last)."""

    posts: list[StoredPost]
    next: str | None


@dataclass(frozen=True)
class ListFeed:
    """One query."""

    feed: FeedReader
    cursors: CursorSigner

    def version(self) -> int | None:
        """`FeedReader.version`: while it stays, so does every page."""
        return self.feed.version()

    async def __call__(
        self, *, sort: FeedSort, limit: int, cursor: str | None, creator: str | None
    ) -> Feed:
        """The page after `cursor`, which must come from the same sort and creator."""
        list_name = f"feed:{sort}:{creator or ''}"
        after = self.cursors.read(list_name, cursor, FeedPosition) if cursor is not None else None
        page = await self.feed.page(FeedQuery(sort=sort, limit=limit, creator=creator, after=after))
        return Feed(page.posts, self.cursors.write(list_name, page.next) if page.next else None)
