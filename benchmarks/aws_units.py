"""DynamoDB units for each request and fold, as docs/aws-costs.md lists them (`make scale`).

A table in memory counts read and write units by the prices that AWS documents
(tests/support/prices.py). The real stores run on it, with the template's indexes and with the four
former ones that held all texts. A post has 4 KB: a caption of 80 characters, an alt text of 60, and
ten latest comments of 120.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from contract.ports.suite import ALICE, a_comment, a_post, a_record, an_upload
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.feed import DynamoFeedReader
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.stream import UserChanges
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore, DynamoUsageStore
from image_poster.domain.feed import FeedCursor, FeedQuery, FeedSort, epoch_of
from image_poster.domain.limits import PUBLIC_RATES, Limits
from image_poster.domain.posts import Post, published_post, uploaded_post
from image_poster.editions.aws.events import EventualQuotas, UsageRecorder
from support.dynamodb import Index, template_indexes
from support.prices import PricedTable, Units
from support.renderer import RENDERED

_TEXT = (
    "A comment of people, as long as most of them are, "
    "with a few words more than it needs to have for its point to be made."
)
_TEXTS = frozenset({"id", "total", "head", "latest"})
_LATEST = 10
# What there was nothing of before.
USER_READ = "a user's usage, read (every 10 s at most)"
USER_TOLD = "a user's usage, updated by a stream batch"
_POSTS = 30


def before() -> Sequence[Index]:
    """As it was: all four indexes of the feed held texts."""
    fat = {"top", "new", "creator_top", "creator_new"}
    return [
        index._replace(projected=_TEXTS) if index.name in fat else index
        for index in template_indexes()
    ]


class Row(NamedTuple):
    """A step, and its units before and now."""

    name: str
    was: Units
    now: Units


class World:
    """The stores over one table, with posts of 4 KB."""

    def __init__(self, indexes: Sequence[Index]) -> None:
        self.table, self.clock = PricedTable(indexes), ManualClock()
        self.comments = DynamoCommentStore(self.table, self.clock)
        self.posts = DynamoPostStore(self.table, self.clock)
        self.counter = DynamoCommentCounter(self.table, self.clock)
        self.feed = DynamoFeedReader(self.table)
        limits, usage = Limits(rates=PUBLIC_RATES), DynamoUsageStore(self.table, self.clock)
        records = DynamoUploadRecordStore(self.table)
        self.limits = EventualQuotas(usage, self.clock, limits)
        self.counter_of_users = UsageRecorder(usage, records, self.posts, self.clock, limits)
        self.ready: list[str] = []

    async def fill(self) -> None:
        for _ in range(_POSTS):
            post = _described(a_post())
            await self.posts.add(post)
            await self.posts.update(post.id, lambda current: published_post(current, RENDERED))
            self.ready.append(post.id)
            await self.fold(post.id, _LATEST)
        self.clock.advance(60_000)

    def question(
        self, sort: FeedSort, creator: str | None = None, after: FeedCursor | None = None
    ) -> FeedQuery:
        epoch = epoch_of(self.clock.now_ms())
        return FeedQuery(sort=sort, limit=10, epoch=epoch, creator=creator, after=after)

    async def fold(self, post_id: str, many: int) -> None:
        comments = [a_comment(post_id, content=_TEXT) for _ in range(many)]
        for comment in comments:
            await self.comments.add(comment)
        self.table.spent()
        await self.counter.count(post_id, [comment.id for comment in comments])


def _described(post: Post) -> Post:
    return msgspec.structs.replace(post, caption=_TEXT[:80], alt=_TEXT[:60])


Step = Callable[[World], Awaitable[object]]


async def _upload(world: World) -> None:
    """A reservation, eight pieces, and their completion."""
    post, upload = an_upload(8)
    await world.posts.add(_described(post), None, upload)
    records = offsets = DynamoUploadRecordStore(world.table)
    for at in range(8):
        await records.find(post.id)
        await offsets.advance(post.id, at, at + 1)
    await world.posts.update(post.id, uploaded_post)


async def _published(world: World) -> None:
    post = _described(a_post())
    await world.posts.add(post)
    await world.posts.find(post.id)
    await world.posts.update(post.id, lambda current: published_post(current, RENDERED))


async def _page(world: World, sort: FeedSort = FeedSort.TOP, creator: str | None = None) -> None:
    page = await world.feed.page(world.question(sort, creator))
    assert len(page.items) == 10


async def _later_page(world: World) -> None:
    first = await world.feed.page(world.question(FeedSort.TOP))
    world.table.spent()
    page = await world.feed.page(world.question(FeedSort.TOP, after=first.next))
    assert len(page.items) == 10


async def _comment(world: World, key: str | None = None) -> None:
    record = None if key is None else a_record(key)
    await world.comments.add(a_comment(world.ready[0], content=_TEXT), record)


async def _told(world: World) -> None:
    """A comment of a user who wrote before."""
    changes = UserChanges("bob", [world.clock.now_ms()])
    await world.counter_of_users.record(changes)
    world.table.spent()
    await world.counter_of_users.record(changes)


STEPS: dict[str, Step] = {
    "a page of `top`, 10 posts": _page,
    "a later page of `top`": _later_page,
    "a page of `new`": lambda world: _page(world, FeedSort.NEW),
    "a page of one creator": lambda world: _page(world, creator="alice"),
    "one post": lambda world: world.posts.find(world.ready[0]),
    "a comment": _comment,
    "a comment with an idempotency key": lambda world: _comment(world, "key"),
    "applying one comment (stream Lambda)": lambda world: world.fold(world.ready[1], 1),
    "applying 20 comments of one post": lambda world: world.fold(world.ready[2], 20),
    USER_READ: lambda world: world.limits.count("alice"),
    USER_TOLD: _told,
    "a post with its image work": _published,
    "an upload of 8 pieces": _upload,
    "a deletion": lambda world: world.posts.remove(world.ready[3], ALICE),
}


async def _measured(indexes: Sequence[Index]) -> list[Units]:
    world = World(indexes)
    await world.fill()
    table_rows = []
    for step in STEPS.values():
        world.table.spent()
        await step(world)
        table_rows.append(world.table.spent())
    return table_rows


def rows() -> list[Row]:
    """Each step, before and now."""
    was, now = (asyncio.run(_measured(indexes)) for indexes in (before(), template_indexes()))
    return [
        Row(name, Units(0, 0) if name in {USER_READ, USER_TOLD} else before, other)
        for name, before, other in zip(STEPS, was, now, strict=True)
    ]


def table(table_rows: list[Row]) -> str:
    """As docs/aws-costs.md has it."""
    lines = ["| request | RRU before | WRU before | RRU | WRU |", "|---|---|---|---|---|"]
    for name, was, now in table_rows:
        figures = (was.reads, was.writes, now.reads, now.writes)
        lines.append(f"| {name} | {' | '.join(f'{figure:g}' for figure in figures)} |")
    return "\n".join(lines)
