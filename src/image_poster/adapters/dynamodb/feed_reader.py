"""The feed in DynamoDB: one query a page and shard, on an index that holds ready posts only."""

from collections.abc import Iterator

from image_poster.adapters.dynamodb.items import creator_key, feed_key, rank, stored_post
from image_poster.adapters.dynamodb.table import Item, Page, Query, Table
from image_poster.domain.feed import FeedPage, FeedPosition, FeedQuery, FeedSort
from image_poster.domain.posts import StoredPost

# A Lambda answers with 6 MB at most, in JSON that may write one character of ours in three.
_MOST_BYTES = 1_500_000


class DynamoFeedReader:
    """`FeedReader` in DynamoDB. A page may be shorter than asked for and still have a next: it ends
    where a query does, at the latest at 1 MB, and where an answer would become too large."""

    def __init__(self, table: Table, *, shards: int = 1) -> None:
        self._table = table
        self._shards = shards

    def version(self) -> int | None:
        return None

    async def page(self, query: FeedQuery) -> FeedPage:
        sort_key = "rank" if query.sort is FeedSort.TOP else "id"
        found = [await self._table.query(one) for one in self._queries(query, sort_key)]
        return _merged(found, sort_key, query.limit)

    def _queries(self, query: FeedQuery, sort_key: str) -> list[Query]:
        before = _position(query.after, sort_key) if query.after else None
        if query.creator is not None:
            names, partitions = ("creator_feed", sort_key), [creator_key(query.creator)]
        else:
            names, partitions = (
                ("feed", sort_key),
                [feed_key(shard) for shard in range(self._shards)],
            )
        index = str(query.sort) if query.creator is None else f"creator_{query.sort}"
        return [Query(partition, query.limit + 1, before, index, names) for partition in partitions]


def _position(after: FeedPosition, sort_key: str) -> str:
    return rank(after.total_comments, after.id) if sort_key == "rank" else after.id


def _merged(found: list[Page], sort_key: str, limit: int) -> FeedPage:
    """One page of several shards: where one of them stopped early, nothing behind that place can be
    shown yet."""
    places = [str(page.items[-1][sort_key]) for page in found if page.next and page.items]
    bound = max(places, default="")
    items: list[Item] = [item for page in found for item in page.items]
    items = [item for item in items if str(item[sort_key]) >= bound]
    items.sort(key=lambda item: str(item[sort_key]), reverse=True)
    shown = list(_fitting([stored_post(item) for item in items[:limit]]))
    more = len(items) > len(shown) or any(page.next for page in found)
    if not shown or not more:
        return FeedPage(shown, None)
    return FeedPage(shown, FeedPosition(shown[-1].total_comments, shown[-1].id))


def _fitting(posts: list[StoredPost]) -> Iterator[StoredPost]:
    """As many as one answer has room for; at least one."""
    room = _MOST_BYTES
    for number, post in enumerate(posts):
        room -= len(post.head) + len(post.latest)
        if room < 0 and number:
            return
        yield post
