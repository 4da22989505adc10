"""The feed in memory: sorted anew for each page, which is right for a few hundred posts."""

from image_poster.adapters.memory.state import MemoryState
from image_poster.domain.feed import FeedPage, FeedPosition, FeedQuery, FeedSort, cut_page
from image_poster.domain.posts import PostStatus, StoredPost


class MemoryFeedReader:
    """`FeedReader` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    def version(self) -> int | None:
        return None

    async def page(self, query: FeedQuery) -> FeedPage:
        shown = [
            self._state.stored(record.post.id)
            for record in self._state.posts.values()
            if record.post.status is PostStatus.READY
            and query.creator in (None, record.post.creator)
        ]
        shown.sort(key=lambda stored: _key(query.sort, stored), reverse=True)
        if query.after is not None:
            bound = _key(query.sort, query.after)
            shown = [stored for stored in shown if _key(query.sort, stored) < bound]
        return cut_page(shown[: query.limit + 1], query.limit)


def _key(sort: FeedSort, stored: StoredPost | FeedPosition) -> tuple[int, str]:
    return (stored.total_comments if sort is FeedSort.TOP else 0, stored.id)
