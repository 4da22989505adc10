"""The feed in DynamoDB, and its rebuild: counts, latest comments and feed entries.

A page takes one query a shard, on an index of ready posts. Later pages of a walk take another query
for past ranks. One batch read gets the posts whose texts are not in the index."""

from collections.abc import Iterable

import msgspec

from image_poster.adapters.dynamodb import comments, database, schema
from image_poster.adapters.dynamodb.posts import is_there
from image_poster.domain.comments import Tally, join_latest
from image_poster.domain.feed import (
    ALWAYS,
    FeedPage,
    FeedQuery,
    FeedSort,
    Position,
    Ranked,
    RankSlice,
    page_of,
    with_contents,
)
from image_poster.domain.posts import PostStatus, StoredPost
from image_poster.domain.signing import Page
from image_poster.domain.uploads import UnfinishedPost
from image_poster.ports.feed import Drift, RebuiltBatch

Contents = dict[str, StoredPost]


class DynamoFeedReader:
    """`FeedReader` in DynamoDB. A page ends with its query, at the latest at 1 MB. So it may be
    shorter than its limit and still have a next page. AWS bills each entry: a query reads no more
    entries than a page without rank changes needs."""

    def __init__(self, table: database.Table, *, shards: int = 1) -> None:
        self._table = table
        self._shards = shards

    def version(self) -> int | None:
        return None

    async def page(self, query: FeedQuery) -> FeedPage:
        contents: Contents = {}
        # In this order: what moves in between is found at the same place in the past ranks.
        sources = [await self._holding(query, one, contents) for one in self._partitions(query)]
        if query.as_of is not None:
            sources += [await self._past(query, one) for one in self._partitions(query)]
        page = page_of(query, sources)
        await self._fetch([one for one in page.items if one not in contents], contents)
        return with_contents(query, sources, page, contents)

    async def unfinished(
        self, creator: str, limit: int, after: str | None
    ) -> Page[UnfinishedPost, str]:
        partition, names = schema.creator_key(creator), ("unfinished", "id")
        query = database.Query(partition, limit, after, "unfinished", names)
        page = await self._table.query(query)
        posts = await self._table.get_many([schema.key_of(item) for item in page.items])
        found = [
            UnfinishedPost(schema.stored_post(item), schema.upload_of(item))
            for item in sorted(posts, key=lambda item: str(item.get("id")), reverse=True)
            if "unfinished" in item  # the index is behind
        ]
        return Page(found, page.next)

    def _partitions(self, query: FeedQuery) -> list[str]:
        if query.creator is not None:
            return [schema.creator_key(query.creator)]
        return [schema.feed_key(shard) for shard in range(self._shards)]

    async def _holding(self, query: FeedQuery, partition: str, contents: Contents) -> RankSlice:
        before = None if query.before is None else query.before._replace(until=ALWAYS)
        limit = query.fetch_limit
        found = await self._table.query(_on_index(query, partition, before, limit))
        # Only the index `top` has texts; what the others lead to is fetched.
        contents.update(
            (str(item["id"]), schema.stored_post(item)) for item in found.items if "head" in item
        )
        return _stretch(query, found)

    async def _past(self, query: FeedQuery, partition: str) -> RankSlice:
        of_past = _on_index(query, schema.PAST + partition, query.before, query.max_entries)
        return _stretch(query, await self._table.query(of_past))

    async def _fetch(self, ids: Iterable[str], contents: Contents) -> None:
        keys = [schema.post_key(post_id) for post_id in ids]
        # As fresh as the index that led here.
        for item in await self._table.get_many(keys, consistent=False) if keys else ():
            if item["status"] == PostStatus.READY:
                contents[str(item["id"])] = schema.stored_post(item)


def _on_index(
    query: FeedQuery, partition: str, before: Position | None, limit: int
) -> database.Query:
    is_top, of_creator = query.sort is FeedSort.TOP, query.creator is not None
    behind = None
    if before is not None:
        behind = schema.before_place(before) if is_top else before.id
    names = ("creator_feed" if of_creator else "feed", "rank" if is_top else "id")
    index = f"creator_{query.sort}" if of_creator else str(query.sort)
    return database.Query(partition, limit, behind, index, names)


def _stretch(query: FeedQuery, found: database.Page) -> RankSlice:
    if query.sort is FeedSort.TOP:
        ranks = [schema.ranked(str(item["rank"])) for item in found.items]
    else:
        ranks = [Ranked(Position(0, str(item["id"]))) for item in found.items]
    return RankSlice(ranks, ranks[-1].place if found.next and ranks else None)


_COMMENTS_AT_A_TIME = 1000


class DynamoFeedRebuilder:
    """`FeedRebuilder` in DynamoDB. It reads the whole table, and counts comments that the stream's
    readers have not counted (yet)."""

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
        drifts, failed = list[Drift](), list[tuple[str, Exception]]()
        for post_id in (str(item["id"]) for item in there):
            try:
                drift = await self._derive(post_id)
            except Exception as exc:  # noqa: BLE001 - whatever it was, others have their turn
                failed.append((post_id, exc))
            else:
                drifts += [drift] if drift is not None else []
        following = msgspec.json.encode(last).decode() if last is not None else None
        return RebuiltBatch(len(there), drifts, following, failed)

    async def _derive(self, post_id: str) -> Drift | None:
        """Count a post's uncounted comments, then correct its tally and feed entry. Returns the
        drift, or None if the post was correct."""
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
            except database.TransactionRefusedError:
                continue  # counted meanwhile: look again
            if found is None and not mended:
                return None
            return Drift(post_id, int(post["total"]) if found is None else found, counted)
        raise AssertionError  # `attempts` ends with an error of its own

    async def _set_right(self, post: database.Item, counted: int) -> bool:
        """Correct the post's tally and feed entry. Returns True if they were wrong."""
        newest = await comments.newest_counted(self._table, str(post["id"]), self._counter.kept)
        tally = Tally(counted, join_latest(newest, self._counter.kept))
        entry = self._entry(post)
        if _agrees(post, tally) and entry.items() <= post.items():
            return False
        await self._table.transact(self._counter.tally_writes(post, tally, **entry))
        return True

    async def _look(self, post_id: str) -> tuple[int, list[str]]:
        """The number of counted comments, and the ids of uncounted or deleted ones."""
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

    def _entry(self, post: database.Item) -> dict[str, str]:
        """The post's keys in the feed's indexes if it is ready, else in `unfinished`."""
        if post["status"] != PostStatus.READY:
            return {"unfinished": schema.creator_key(str(post["creator"]))}
        return {
            "feed": schema.feed_key(schema.shard_of(str(post["id"]), self._shards)),
            "creator_feed": schema.creator_key(str(post["creator"])),
        }


def _agrees(post: database.Item, tally: Tally) -> bool:
    return comments.tally_of(post) == tally and schema.held_by(post).total == tally.total
