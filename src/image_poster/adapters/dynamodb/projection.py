"""Counts, latest comments and feed entries in DynamoDB, derived anew."""

import msgspec

from image_poster.adapters.dynamodb.comment_counter import (
    DynamoCommentCounter,
    newest_counted,
    tally_of,
    tally_update,
)
from image_poster.adapters.dynamodb.items import (
    AFTER_COMMENTS,
    POST,
    comment_id_of,
    creator_key,
    feed_key,
    post_key,
    rank,
    shard_of,
)
from image_poster.adapters.dynamodb.retries import attempts
from image_poster.adapters.dynamodb.table import (
    ConditionFailedError,
    ConflictError,
    Item,
    Key,
    Query,
    Table,
)
from image_poster.domain.comments import join_latest
from image_poster.domain.counting import Tally
from image_poster.domain.posts import PostStatus
from image_poster.ports.projection import Drift, RebuiltBatch

_COMMENTS_AT_A_TIME = 1000


class DynamoProjection:
    """`Projection` in DynamoDB. It reads the whole table, and counts what the stream should have
    counted and has not (yet)."""

    def __init__(self, table: Table, counter: DynamoCommentCounter, *, shards: int = 1) -> None:
        self._table = table
        self._counter = counter
        self._shards = shards

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        start = msgspec.json.decode(after, type=Key) if after is not None else None
        posts, last = await self._table.scan(POST, limit, start)
        ready = [item for item in posts if item["status"] == PostStatus.READY]
        drifts = [await self._derive(str(item["id"])) for item in ready]
        found = [drift for drift in drifts if drift is not None]
        following = msgspec.json.encode(last).decode() if last is not None else None
        return RebuiltBatch(len(ready), found, following)

    async def _derive(self, post_id: str) -> Drift | None:
        async for _ in attempts():
            post = await self._table.get(post_key(post_id))
            if post is None or post["status"] != PostStatus.READY:
                return None
            counted, open_ids = await self._look(post_id)
            if open_ids:
                await self._counter.count(post_id, open_ids)
                continue
            newest = await newest_counted(self._table, post_id, self._counter.kept)
            tally = Tally(counted, join_latest(newest, self._counter.kept))
            entry = self._entry(post, tally.total)
            if tally == tally_of(post) and entry.items() <= post.items():
                return None
            try:
                await self._table.write(tally_update(post, tally, **entry))
            except (ConditionFailedError, ConflictError):
                continue  # counted meanwhile: look again
            return Drift(post_id, int(post["total"]), counted)
        raise AssertionError  # `attempts` ends with an error of its own

    async def _look(self, post_id: str) -> tuple[int, list[str]]:
        """How many comments are counted, and which still have to be looked at."""
        counted, open_ids, before = 0, list[str](), AFTER_COMMENTS
        while True:
            query = Query(post_key(post_id).pk, _COMMENTS_AT_A_TIME, before=before)
            page = await self._table.query(query, consistent=True)
            for item in page.items:
                counted += "counted" in item
                if "counted" not in item or "deleted_by" in item:
                    open_ids.append(comment_id_of(item))
            if page.next is None:
                return counted, open_ids
            before = page.next

    def _entry(self, post: Item, total: int) -> dict[str, str]:
        post_id = str(post["id"])
        return {
            "feed": feed_key(shard_of(post_id, self._shards)),
            "creator_feed": creator_key(str(post["creator"])),
            "rank": rank(total, post_id),
        }
