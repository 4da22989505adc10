"""The feed in memory."""

from fakes.state import MemoryState
from image_poster.domain.feed import (
    CurrentRank,
    FeedPage,
    FeedQuery,
    FeedSort,
    Ranked,
    RankSlice,
    page_of,
    position_in,
    with_contents,
)
from image_poster.domain.posts import PostStatus, StoredPost
from image_poster.domain.signing import Page
from image_poster.domain.uploads import OwnPost
from image_poster.ports.feed import RebuiltBatch


class MemoryFeedReader:
    """`FeedReader` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    def version(self) -> int | None:
        return None

    async def page(self, query: FeedQuery) -> FeedPage:
        contents = {
            post_id: self._state.stored(post_id)
            for post_id, record in self._state.posts.items()
            if record.post.status is PostStatus.READY
            and query.creator in (None, record.post.creator)
        }
        holding = [self._ranked(query.sort, stored) for stored in contents.values()]
        past = [rank for rank in self._state.past if rank.place.id in contents]
        sources = [_stretch(query, holding), _stretch(query, past if query.as_of else [])]
        return with_contents(query, sources, page_of(query, sources), contents)

    def _ranked(self, sort: FeedSort, stored: StoredPost) -> Ranked:
        rank = self._state.ranks.get(stored.id, CurrentRank(0))
        return Ranked(position_in(sort, stored.total_comments, stored.id), rank.since)

    async def own_posts(
        self, creator: str, statuses: frozenset[PostStatus], limit: int, after: str | None
    ) -> Page[OwnPost, str]:
        ids = sorted(
            (
                post_id
                for post_id, record in self._state.posts.items()
                if record.post.creator == creator
                and record.post.status in statuses
                and (after is None or post_id < after)
            ),
            reverse=True,
        )
        uploads = self._state.uploads
        shown = [OwnPost(self._state.stored(id_), uploads.get(id_)) for id_ in ids[:limit]]
        return Page(shown, ids[limit - 1] if len(ids) > limit else None)


def _stretch(query: FeedQuery, ranks: list[Ranked]) -> RankSlice:
    ranks = [rank for rank in ranks if query.before is None or rank.place < query.before]
    ranks.sort(reverse=True)
    if len(ranks) <= query.max_entries:
        return RankSlice(ranks, None)
    looked_at = ranks[: query.max_entries]
    return RankSlice(looked_at, looked_at[-1].place)


class MemoryFeedRebuilder:
    """`FeedRebuilder` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        ids = sorted(key for key in self._state.posts if after is None or key > after)[:limit]
        return RebuiltBatch(len(ids), [], ids[-1] if ids else None)
