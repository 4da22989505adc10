"""Counting in DynamoDB: up to 99 comments and their post in one transaction.

Each comment is claimed in it (`counted`), and the post is compared and swapped by its `version`: so
nobody counts a comment twice, whoever else is at it and wherever a crash comes.
"""

from collections.abc import Iterable, Iterator

from image_poster.adapters.dynamodb.items import (
    AFTER_COMMENTS,
    comment_id_of,
    comment_key,
    doc_of,
    gone_key,
    key_of,
    keyed,
    post_key,
    rank,
    ttl_of,
)
from image_poster.adapters.dynamodb.post_store import is_there
from image_poster.adapters.dynamodb.retries import attempts
from image_poster.adapters.dynamodb.table import (
    MOST_IN_TRANSACTION,
    PK,
    Delete,
    Exists,
    Is,
    Item,
    Missing,
    Put,
    Query,
    Table,
    TransactionRefusedError,
    Update,
    Write,
)
from image_poster.domain.counting import CommentState, Fold, Tally, fold, needs_newest
from image_poster.domain.idempotency import KEPT_MS
from image_poster.domain.limits import LATEST_KEPT
from image_poster.domain.posts import PostStatus
from image_poster.ports.clock import Clock

# One write is the post's.
_ROOM = MOST_IN_TRANSACTION - 1


class DynamoCommentCounter:
    """`CommentCounter` in DynamoDB."""

    def __init__(self, table: Table, clock: Clock, *, kept: int = LATEST_KEPT) -> None:
        self._table = table
        self._clock = clock
        self.kept = kept

    async def count(self, post_id: str, comment_ids: Iterable[str]) -> None:
        waiting = sorted(set(comment_ids))
        while waiting:
            done = await self._count_some(post_id, waiting[:_ROOM])
            waiting = waiting[done:]

    async def _count_some(self, post_id: str, comment_ids: list[str]) -> int:
        """Count as many of these, in their order, as one transaction can take; how many that
        were."""
        async for _ in attempts():
            post = await self._table.get(post_key(post_id))
            comments = await self._comments(post_id, comment_ids)
            if post is None or not is_there(post):
                await self._table.delete_many([key_of(item) for item in comments])
                return len(comment_ids)
            states = [state_of(item) for item in comments]
            taken = list(_affordable(states))
            writes = await self._writes(post, post_id, taken)
            try:
                if writes:
                    await self._table.transact(writes)
            except TransactionRefusedError:
                continue  # somebody was quicker; look again
            if len(taken) == len(states):
                return len(comment_ids)
            return comment_ids.index(taken[-1].id) + 1
        raise AssertionError  # `attempts` ends with an error of its own

    async def _comments(self, post_id: str, comment_ids: list[str]) -> list[Item]:
        found = await self._table.get_many([comment_key(post_id, one) for one in comment_ids])
        return sorted(found, key=comment_id_of)

    async def _writes(self, post: Item, post_id: str, taken: list[CommentState]) -> list[Write]:
        before = tally_of(post)
        newest: list[bytes] = []
        if needs_newest(before, taken, self.kept):
            newest = await newest_counted(self._table, post_id, self.kept)
        result = fold(before, taken, newest, self.kept)
        writes = list(self._comment_writes(post_id, result))
        if result.tally != before:
            writes.append(tally_update(post, result.tally))
        return writes

    def _comment_writes(self, post_id: str, result: Fold) -> Iterator[Write]:
        for one in result.claimed:
            yield Update(
                comment_key(post_id, one.id),
                put={"counted": True},
                when=(Exists(PK), Missing("counted"), Missing("deleted_by")),
            )
        ttl = ttl_of(self._clock.now_ms() + KEPT_MS)
        for one in (*result.released, *result.dropped):
            counted = Exists("counted") if one.counted else Missing("counted")
            yield Delete(comment_key(post_id, one.id), (Exists("deleted_by"), counted))
            gone: Item = {"deleted_by": str(one.deleted_by), "ttl": ttl}
            yield Put(keyed(gone_key(post_id, one.id), gone))


def tally_of(post: Item) -> Tally:
    """What the post's item knows of its comments."""
    return Tally(int(post["total"]), str(post["latest"]).encode())


def tally_update(post: Item, tally: Tally, **more: str) -> Update:
    """The post with another tally, if it is still as it was seen."""
    return Update(
        key_of(post),
        put={
            "total": tally.total,
            "latest": tally.latest.decode(),
            "rank": rank(tally.total, str(post["id"])),
            **more,
        },
        add={"version": 1},
        when=(Is("version", post["version"]), Is("status", str(PostStatus.READY))),
    )


def state_of(item: Item) -> CommentState:
    """A comment's item, as `fold` takes it."""
    deleted_by = item.get("deleted_by")
    return CommentState(
        comment_id_of(item),
        doc_of(item),
        counted="counted" in item,
        deleted_by=None if deleted_by is None else str(deleted_by),
    )


async def newest_counted(table: Table, post_id: str, kept: int) -> list[bytes]:
    """The `kept` latest comments as they should be, read from the comments themselves."""
    found: list[bytes] = []
    before: str | None = AFTER_COMMENTS
    while before is not None and len(found) < kept:
        query = Query(post_key(post_id).pk, 2 * kept, before=before, without=("deleted_by",))
        items, before = await table.query(query, consistent=True)
        found += [doc_of(item) for item in items if "counted" in item]
    return found[:kept]


def _affordable(states: list[CommentState]) -> Iterator[CommentState]:
    """As many as one transaction has room for: a claim is one write, a removal two."""
    room = _ROOM
    for one in states:
        room -= 2 if one.deleted_by else not one.counted
        if room < 0:
            return
        yield one
