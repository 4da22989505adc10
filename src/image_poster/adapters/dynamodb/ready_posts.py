"""A cache of the fact that a post is ready: a warm Lambda reads the post of many comments once."""

from collections import OrderedDict
from typing import NamedTuple

from image_poster.adapters.dynamodb import schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.domain.posts import PostStatus
from image_poster.ports import Clock

_CACHE_MS = 60_000
_MAX_CACHED = 10_000


class _ReadyPost(NamedTuple):
    """A cached fact: a post of `creator` is ready, until `until_ms` (since 1970)."""

    creator: str
    until_ms: int


class ReadyPosts:
    """The creators of ready posts, each cached for a minute."""

    def __init__(self, table: BotoTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._posts: OrderedDict[str, _ReadyPost] = OrderedDict()

    def forget(self, post_id: str) -> None:
        """Drop a post from the cache."""
        self._posts.pop(post_id, None)

    async def creator_of(self, post_id: str) -> str | None:
        """The creator of a ready post; None for any other post. An eventually consistent read is
        enough for a ready post; a strongly consistent one precedes a refusal."""
        cached = self._posts.get(post_id)
        if cached is not None and cached.until_ms > self._clock.now_ms():
            return cached.creator
        for consistent in (False, True):
            item = await self._table.get(schema.post_key(post_id), consistent=consistent)
            if item is not None and item["status"] == PostStatus.READY:
                return self._cache(post_id, str(item["creator"]))
        self.forget(post_id)
        return None

    def _cache(self, post_id: str, creator: str) -> str:
        self._posts[post_id] = _ReadyPost(creator, self._clock.now_ms() + _CACHE_MS)
        self._posts.move_to_end(post_id)
        if len(self._posts) > _MAX_CACHED:
            self._posts.popitem(last=False)
        return creator
