"""The feed in DynamoDB, and its rebuild: counts, latest comments and feed entries.

A page takes one query a shard, on an index of ready posts. Later pages of a walk take another query
for past ranks. One batch read gets the posts whose texts are not in the index."""

from collections.abc import Iterable
from contextlib import suppress

import msgspec

from image_poster.adapters.dynamodb import boto, comments, database, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.domain.comments import Tally, join_latest
from image_poster.domain.feed import (
    BEHIND_PAST_RANKS,
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
from image_poster.domain.uploads import OwnPost
from image_poster.ports.feed import Drift, RebuiltBatch

Contents = dict[str, StoredPost]


class DynamoFeedReader:
    """`FeedReader` in DynamoDB. A page ends with its query, at the latest at 1 MB. So it may be
    shorter than its limit and still have a next page. AWS bills each entry: a query reads no more
    entries than a page without rank changes needs."""

    def __init__(self, table: BotoTable, *, shards: int = 1) -> None:
        self._table = table
        self._shards = shards

    def version(self) -> int | None:
        return None

    async def page(self, query: FeedQuery) -> FeedPage:
        contents: Contents = {}
        partitions = self._partitions(query)
        # In this order: the past ranks have each post whose rank changes between the two queries.
        sources = [await self._current_ranks(query, name, contents) for name in partitions]
        if query.as_of is not None:
            sources += [await self._past_ranks(query, name) for name in partitions]
        page = page_of(query, sources)
        await self._fetch([post_id for post_id in page.items if post_id not in contents], contents)
        return with_contents(query, sources, page, contents)

    async def own_posts(
        self, creator: str, statuses: frozenset[PostStatus], limit: int, after: str | None
    ) -> Page[OwnPost, str]:
        pages = [
            await self._table.query(
                database.Query(schema.creator_key(creator), limit, after, index, (name, "id"))
            )
            for index, name in _indexes_of(statuses)
        ]
        ids, following = _merge(pages, limit)
        keys = [schema.post_key(post_id) for post_id in ids]
        posts = await self._table.get_many(keys) if keys else []
        # The indexes are a moment behind; the items have the current state.
        own = [
            OwnPost(schema.stored_post(item), schema.upload_of(item))
            for item in sorted(posts, key=lambda item: str(item["id"]), reverse=True)
            if item["status"] in statuses
        ]
        return Page(own, following)

    def _partitions(self, query: FeedQuery) -> list[str]:
        if query.creator is not None:
            return [schema.creator_key(query.creator)]
        return [schema.feed_key(shard) for shard in range(self._shards)]

    async def _current_ranks(
        self, query: FeedQuery, partition: str, contents: Contents
    ) -> RankSlice:
        before = None if query.before is None else query.before._replace(until=BEHIND_PAST_RANKS)
        page = await self._table.query(_on_index(query, partition, before, query.fetch_limit))
        # Only the index `top` has texts; posts that the others name are fetched.
        contents.update(
            (str(item["id"]), schema.stored_post(item)) for item in page.items if "head" in item
        )
        return _slice(query, page)

    async def _past_ranks(self, query: FeedQuery, partition: str) -> RankSlice:
        of_past = _on_index(query, schema.PAST + partition, query.before, query.max_entries)
        return _slice(query, await self._table.query(of_past))

    async def _fetch(self, ids: Iterable[str], contents: Contents) -> None:
        keys = [schema.post_key(post_id) for post_id in ids]
        # An eventually consistent read is as fresh as the index.
        for item in await self._table.get_many(keys, consistent=False) if keys else ():
            if item["status"] == PostStatus.READY:
                contents[str(item["id"])] = schema.stored_post(item)


def _indexes_of(statuses: frozenset[PostStatus]) -> list[tuple[str, str]]:
    """The indexes of a creator's posts of these statuses, each with its partition's attribute."""
    indexes = [("creator_new", "creator_feed")] if PostStatus.READY in statuses else []
    return indexes + ([("unfinished", "unfinished")] if statuses - {PostStatus.READY} else [])


def _merge(pages: list[database.ItemPage], limit: int) -> tuple[list[str], str | None]:
    """The newest `limit` ids of pages that begin at one position, and the position of the next
    page. No page is read further than that of the newest end."""
    ends = [page.next for page in pages if page.next is not None]
    end = max(ends, default="")
    ids = sorted({str(item["id"]) for page in pages for item in page.items}, reverse=True)
    reached = [post_id for post_id in ids if post_id >= end]
    if len(reached) > limit:
        return reached[:limit], reached[limit - 1]
    return reached, end or None


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


def _slice(query: FeedQuery, page: database.ItemPage) -> RankSlice:
    if query.sort is FeedSort.TOP:
        ranks = [schema.ranked(str(item["rank"])) for item in page.items]
    else:
        ranks = [Ranked(Position(0, str(item["id"]))) for item in page.items]
    return RankSlice(ranks, ranks[-1].place if page.next and ranks else None)


_COMMENTS_AT_A_TIME = 1000


class DynamoFeedRebuilder:
    """`FeedRebuilder` in DynamoDB. It reads the whole table, and counts comments that the stream's
    readers have not counted (yet)."""

    def __init__(
        self, table: BotoTable, counter: comments.DynamoCommentCounter, *, shards: int = 1
    ) -> None:
        self._table = table
        self._counter = counter
        self._shards = shards

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        start = msgspec.json.decode(after, type=database.Key) if after is not None else None
        posts, last = await self._table.scan(schema.POST, limit, start)
        post_ids = [str(item["id"]) for item in posts if not schema.is_tombstone(item)]
        drifts, failed = list[Drift](), list[tuple[str, Exception]]()
        for post_id in post_ids:
            try:
                drift = await self._rebuild_post(post_id)
            except Exception as exc:  # noqa: BLE001 - one post stops no other's rebuild
                failed.append((post_id, exc))
            else:
                drifts += [drift] if drift is not None else []
        following = msgspec.json.encode(last).decode() if last is not None else None
        return RebuiltBatch(len(post_ids), drifts, following, failed)

    async def _rebuild_post(self, post_id: str) -> Drift | None:
        """Count a post's uncounted comments, then correct its tally and feed entry. Returns the
        drift, or None if the post was correct."""
        total_was: int | None = None
        async for _ in database.attempts():
            post = await self._table.get(schema.post_key(post_id))
            if post is None or schema.is_tombstone(post):
                return None
            await self._complete(post)
            counted, uncounted_ids = await self._read_comments(post_id)
            if uncounted_ids:
                total_was = int(post["total"]) if total_was is None else total_was
                await self._counter.count(post_id, uncounted_ids)
                continue
            try:
                was_wrong = await self._correct(post, counted)
            except database.TransactionRefusedError:
                continue  # the post changed since it was read
            if total_was is None and not was_wrong:
                return None
            return Drift(post_id, int(post["total"]) if total_was is None else total_was, counted)
        raise AssertionError  # `attempts` ends with an error of its own

    async def _correct(self, post: database.Item, counted: int) -> bool:
        """Correct the post's tally and feed entry. Returns True if they were wrong."""
        post_id, latest_kept = str(post["id"]), self._counter.latest_kept
        newest = await boto.newest_counted(self._table, post_id, latest_kept)
        tally = Tally(counted, join_latest(newest, latest_kept))
        keys = schema.index_keys(post_id, str(post["creator"]), str(post["status"]), self._shards)
        agrees = comments.tally_of(post) == tally
        if agrees and schema.current_rank(post).total == counted and keys.items() <= post.items():
            return False
        await self._table.transact(self._counter.tally_writes(post, tally, **keys))
        return True

    async def _read_comments(self, post_id: str) -> tuple[int, list[str]]:
        """The number of counted comments, and the ids of uncounted or deleted ones."""
        counted, uncounted_ids, before = 0, list[str](), schema.AFTER_COMMENTS
        while True:
            query = database.Query(schema.post_key(post_id).pk, _COMMENTS_AT_A_TIME, before=before)
            page = await self._table.query(query, consistent=True)
            for item in page.items:
                await self._index_author(item)
                counted += bool(item["counted"])
                if not item["counted"] or "deleted_by" in item:
                    uncounted_ids.append(schema.comment_id_of(item))
            if page.next is None:
                return counted, uncounted_ids
            before = page.next

    async def _complete(self, post: database.Item) -> None:
        """Schedule the expiry of a failed post that an earlier version stored without one."""
        if post["status"] != PostStatus.FAILED or "due" in post:
            return
        checked = schema.due_attributes(str(post["id"]), int(post.get("since_ms", 0)))
        update = database.Update(schema.key_of(post), put=checked, when=(database.unchanged(post),))
        with suppress(database.WriteRefusedError):
            await self._table.write(update)

    async def _index_author(self, comment: database.Item) -> None:
        """Add the keys of its author's index to a comment that an earlier version stored."""
        if "author" in comment or "deleted_by" in comment:
            return
        comment_id = schema.comment_id_of(comment)
        update = database.Update(
            schema.key_of(comment),
            put=schema.author_attributes(str(comment["creator"]), comment_id),
            when=(database.Has(database.PK), database.Lacks("deleted_by")),
        )
        with suppress(database.WriteRefusedError):  # it was deleted in the meantime
            await self._table.write(update)
