"""The feed in DynamoDB: one query a page and shard, on an index of ready posts only; counts,
latest comments and feed entries derived anew."""

from collections.abc import Iterator

import msgspec

from image_poster.adapters.dynamodb import comments, database, schema
from image_poster.adapters.dynamodb.posts import is_there
from image_poster.domain.comments import Tally, join_latest
from image_poster.domain.feed import FeedPage, FeedPosition, FeedQuery, FeedSort
from image_poster.domain.posts import PostStatus, StoredPost
from image_poster.ports.feed import Drift, RebuiltBatch

# A Lambda answers with 6 MB at most, in JSON that may write one character of ours in three.
_MAX_PAGE_BYTES = 1_500_000


class DynamoFeedReader:
    """`FeedReader` in DynamoDB. A page may be shorter than asked for and still have a next: it ends
    where a query does, at the latest at 1 MB, and where an answer would become too large."""

    def __init__(self, table: database.Table, *, shards: int = 1) -> None:
        self._table = table
        self._shards = shards

    def version(self) -> int | None:
        return None

    async def page(self, query: FeedQuery) -> FeedPage:
        sort_key = "rank" if query.sort is FeedSort.TOP else "id"
        found = [await self._table.query(one) for one in self._queries(query, sort_key)]
        return _merged(found, sort_key, query.limit)

    def _queries(self, query: FeedQuery, sort_key: str) -> list[database.Query]:
        before = _position(query.after, sort_key) if query.after else None
        if query.creator is not None:
            names, partitions = ("creator_feed", sort_key), [schema.creator_key(query.creator)]
        else:
            names, partitions = (
                ("feed", sort_key),
                [schema.feed_key(shard) for shard in range(self._shards)],
            )
        index = str(query.sort) if query.creator is None else f"creator_{query.sort}"
        return [
            database.Query(partition, query.limit + 1, before, index, names)
            for partition in partitions
        ]


def _position(after: FeedPosition, sort_key: str) -> str:
    return schema.rank(after.total_comments, after.id) if sort_key == "rank" else after.id


def _merged(found: list[database.Page], sort_key: str, limit: int) -> FeedPage:
    """One page of several shards: where one of them stopped early, nothing behind that place can be
    shown yet."""
    places = [str(page.items[-1][sort_key]) for page in found if page.next and page.items]
    bound = max(places, default="")
    items: list[database.Item] = [item for page in found for item in page.items]
    items = [item for item in items if str(item[sort_key]) >= bound]
    items.sort(key=lambda item: str(item[sort_key]), reverse=True)
    shown = list(_fitting([schema.stored_post(item) for item in items[:limit]]))
    more = len(items) > len(shown) or any(page.next for page in found)
    if not shown or not more:
        return FeedPage(shown, None)
    return FeedPage(shown, FeedPosition(shown[-1].total_comments, shown[-1].id))


def _fitting(posts: list[StoredPost]) -> Iterator[StoredPost]:
    """As many as one answer has room for; at least one."""
    room = _MAX_PAGE_BYTES
    for number, post in enumerate(posts):
        room -= len(post.head) + len(post.latest)
        if room < 0 and number:
            return
        yield post


_COMMENTS_AT_A_TIME = 1000


class DynamoFeedRebuilder:
    """`FeedRebuilder` in DynamoDB. It reads the whole table, and counts what the stream should have
    counted and has not (yet)."""

    def __init__(
        self, table: database.Table, counter: comments.DynamoCommentCounter, *, shards: int = 1
    ) -> None:
        self._table = table
        self._counter = counter
        self._shards = shards

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        start = msgspec.json.decode(after, type=database.Key) if after is not None else None
        posts, last = await self._table.scan(schema.POST, limit, start)
        there = [item for item in posts if is_there(item)]
        drifts = [await self._derive(str(item["id"])) for item in there]
        found = [drift for drift in drifts if drift is not None]
        following = msgspec.json.encode(last).decode() if last is not None else None
        return RebuiltBatch(len(there), found, following)

    async def _derive(self, post_id: str) -> Drift | None:
        """Count what should have been counted, and set right what differs even so; how the post
        was found, if anything had to be done."""
        found: int | None = None
        async for _ in database.attempts():
            post = await self._table.get(schema.post_key(post_id))
            if post is None or not is_there(post):
                return None
            counted, open_ids = await self._look(post_id)
            if open_ids:
                found = int(post["total"]) if found is None else found
                await self._counter.count(post_id, open_ids)
                continue
            try:
                mended = await self._set_right(post, counted)
            except (database.ConditionFailedError, database.ConflictError):
                continue  # counted meanwhile: look again
            if found is None and not mended:
                return None
            return Drift(post_id, int(post["total"]) if found is None else found, counted)
        raise AssertionError  # `attempts` ends with an error of its own

    async def _set_right(self, post: database.Item, counted: int) -> bool:
        """Whether anything had to be."""
        newest = await comments.newest_counted(self._table, str(post["id"]), self._counter.kept)
        tally = Tally(counted, join_latest(newest, self._counter.kept))
        entry = self._entry(post, tally.total)
        if tally == comments.tally_of(post) and entry.items() <= post.items():
            return False
        await self._table.write(comments.tally_update(post, tally, **entry))
        return True

    async def _look(self, post_id: str) -> tuple[int, list[str]]:
        """How many comments are counted, and which still have to be looked at."""
        counted, open_ids, before = 0, list[str](), schema.AFTER_COMMENTS
        while True:
            query = database.Query(schema.post_key(post_id).pk, _COMMENTS_AT_A_TIME, before=before)
            page = await self._table.query(query, consistent=True)
            for item in page.items:
                counted += bool(item["counted"])
                if not item["counted"] or "deleted_by" in item:
                    open_ids.append(schema.comment_id_of(item))
            if page.next is None:
                return counted, open_ids
            before = page.next

    def _entry(self, post: database.Item, total: int) -> dict[str, str]:
        """What puts the post into the feed's indexes: only a ready one has the keys."""
        post_id = str(post["id"])
        entry = {"rank": schema.rank(total, post_id)}
        if post["status"] == PostStatus.READY:
            entry["feed"] = schema.feed_key(schema.shard_of(post_id, self._shards))
            entry["creator_feed"] = schema.creator_key(str(post["creator"]))
        return entry
