"""A walk over `top` shows each post once and misses none that was there at its first page, in spite
of writes meanwhile. It tests the protocol of `domain.feed`, by each store that implements it.

The memory is the protocol alone. SQLite is closed and opened again between pages. On DynamoDB the
writers' clocks differ by seconds, and they write while a page is being read.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.ports.suite import a_comment, a_post
from fakes.clock import ManualClock
from fakes.comments import MemoryCommentStore
from fakes.feed import MemoryFeedReader
from fakes.posts import MemoryPostStore
from fakes.state import MemoryState
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.feed import DynamoFeedReader
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed import SqliteFeedReader
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.feed import (
    EPOCH_MS,
    PAST_EPOCHS,
    CurrentRank,
    FeedCursor,
    FeedPage,
    FeedQuery,
    FeedSort,
    Position,
    Ranked,
    change_rank,
    epoch_of,
    is_valid,
)
from image_poster.domain.identity import Identity
from image_poster.domain.posts import published_post
from image_poster.ports.comments import CommentStore
from image_poster.ports.feed import FeedReader
from image_poster.ports.posts import PostStore
from support.dynamodb import FakeTable
from support.examples import examples
from support.renderer import RENDERED

CREATORS = ("alice", "bob")
ROOT = Identity("root", admin=True)


async def do_nothing() -> None:
    """No restart, and nothing to count afterwards."""


@dataclass
class Store:
    """One back-end. `count` is what follows from comments on a post, by a clock that is so many
    milliseconds ahead."""

    posts: PostStore
    comments: CommentStore
    feed: FeedReader
    count: Callable[[str, str, int], Awaitable[None]] | None = None
    reopen: Callable[[], Awaitable[None]] = do_nothing


@dataclass
class Walk:
    """One reader: what was there when it began, and what it has been shown since."""

    query: FeedQuery
    there: set[str]
    shown: list[str] = field(default_factory=list)
    pages: int = 0


class Ahead:
    """A clock that is some seconds before or behind another."""

    def __init__(self, clock: ManualClock, by_ms: int) -> None:
        self._clock = clock
        self._by_ms = by_ms

    def now_ms(self) -> int:
        return self._clock.now_ms() + self._by_ms

    def service_ms(self) -> int:
        return self._clock.service_ms() + self._by_ms

    def new_id(self) -> str:
        return self._clock.new_id()


@asynccontextmanager
async def memory(clock: ManualClock) -> AsyncIterator[Store]:
    state = MemoryState()
    yield Store(
        MemoryPostStore(state, clock), MemoryCommentStore(state, clock), MemoryFeedReader(state)
    )


@asynccontextmanager
async def sqlite(clock: ManualClock) -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "walks.db")
        database = Database(path)

        async def reopen() -> None:
            nonlocal database
            await database.close()
            database = Database(path)
            store.posts = SqlitePostStore(database, clock)
            store.comments = SqliteCommentStore(database, clock)
            store.feed = SqliteFeedReader(database)

        store = Store(
            SqlitePostStore(database, clock),
            SqliteCommentStore(database, clock),
            SqliteFeedReader(database),
            reopen=reopen,
        )
        try:
            yield store
        finally:
            await database.close()


def dynamodb(shards: int) -> Callable[[ManualClock], AbstractAsyncContextManager[Store]]:
    @asynccontextmanager
    async def opened(clock: ManualClock) -> AsyncIterator[Store]:
        table = FakeTable()

        async def count(post_id: str, comment_id: str, ahead_ms: int) -> None:
            counter = DynamoCommentCounter(table, Ahead(clock, ahead_ms))
            await counter.count(post_id, [comment_id])

        yield Store(
            DynamoPostStore(table, clock, shards=shards),
            DynamoCommentStore(table, clock),
            DynamoFeedReader(table, shards=shards),
            count=count,
        )

    return opened


class World:
    """Posts, those who write to them, and those who walk over them."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store, self.clock = store, clock
        self.creators: dict[str, str] = {}
        self.comments: list[tuple[str, str]] = []
        self.walks: list[Walk] = []

    async def publish(self, pick: int) -> None:
        post = a_post(CREATORS[pick % 2])
        await self.store.posts.add(post)
        await self.store.posts.update(post.id, lambda current: published_post(current, RENDERED))
        self.creators[post.id] = post.creator

    async def comment(self, pick: int) -> None:
        """On some post, often one of few."""
        if self.creators:
            ids = sorted(self.creators)
            comment = a_comment(ids[pick % 7 % len(ids) if pick % 2 else pick % len(ids)])
            await self.store.comments.add(comment)
            self.comments.append((comment.post_id, comment.id))
            await self._counted(comment.post_id, comment.id, pick)

    async def uncomment(self, pick: int) -> None:
        if self.comments:
            post_id, comment_id = self.comments.pop(pick % len(self.comments))
            if post_id in self.creators:
                await self.store.comments.remove(post_id, comment_id, Identity("bob"))
                await self._counted(post_id, comment_id, pick)

    async def delete(self, pick: int) -> None:
        if self.creators:
            post_id = sorted(self.creators)[pick % len(self.creators)]
            await self.store.posts.remove(post_id, ROOT)
            del self.creators[post_id]

    async def stir(self, pick: int) -> None:
        """A post goes up and down for many epochs: more past ranks than one page reads."""
        for turn in range(2 * (pick % 70) if pick > 150 else 2):
            await (self.uncomment(len(self.comments) - 1) if turn % 2 else self.comment(pick))
            self.clock.advance(EPOCH_MS)

    async def wait(self, pick: int) -> None:
        self.clock.advance(pick * 397 % 9000)

    async def set_back(self, pick: int) -> None:
        """On one machine; on AWS clocks differ by as much as may be already."""
        if self.store.count is None:
            self.clock.advance(-(pick % 4) * 1000)

    async def restart(self, _: int) -> None:
        await self.store.reopen()

    async def begin(self, pick: int) -> None:
        creator = (None, *CREATORS)[pick % 3]
        query = FeedQuery(
            sort=FeedSort.TOP, limit=1 + pick % 5, epoch=self._epoch(), creator=creator
        )
        there = {post_id for post_id, by in self.creators.items() if creator in (None, by)}
        self.walks.append(Walk(query, there))
        await self.step(len(self.walks) - 1)

    async def step(self, pick: int) -> None:
        if self.walks:
            walk = self.walks[pick % len(self.walks)]
            await self._read(walk, self.store.feed.page(self._now(walk)))

    async def step_while_written(self, pick: int) -> None:
        """Requests meet in the middle of a page where a store has one."""
        if self.walks:
            walk = self.walks[pick % len(self.walks)]
            page = asyncio.ensure_future(self.store.feed.page(self._now(walk)))
            await asyncio.gather(page, self.comment(pick), self.comment(pick + 3))
            await self._read(walk, page)

    async def finish(self) -> None:
        """All walks to their ends, while comments go on."""
        while self.walks:
            await self.step(0)
            await self.comment(len(self.comments))
            await self.wait(len(self.comments))

    async def _read(self, walk: Walk, reading: Awaitable[FeedPage]) -> None:
        page = await reading
        walk.shown += [stored.id for stored in page.items]
        walk.pages += 1
        assert len(page.items) <= walk.query.limit
        assert walk.pages < 500
        walk.query = FeedQuery(
            sort=FeedSort.TOP,
            limit=walk.query.limit,
            epoch=0,
            creator=walk.query.creator,
            after=page.next,
        )
        if page.next is None:
            self._judge(walk)
            self.walks.remove(walk)

    def _judge(self, walk: Walk) -> None:
        assert len(walk.shown) == len(set(walk.shown)), "repeated"
        assert not (walk.there & self.creators.keys()) - set(walk.shown), "missed"

    async def _counted(self, post_id: str, comment_id: str, pick: int) -> None:
        if self.store.count is not None:
            await self.store.count(post_id, comment_id, (-4000, -1500, 0, 4000)[pick % 4])

    def _epoch(self) -> int:
        return epoch_of(self.clock.now_ms())

    def _now(self, walk: Walk) -> FeedQuery:
        return FeedQuery(
            sort=walk.query.sort,
            limit=walk.query.limit,
            epoch=self._epoch(),
            creator=walk.query.creator,
            after=walk.query.after,
        )


ORDINARY = ("publish", "comment", "comment", "comment", "uncomment", "delete", "wait", "wait")
READING = ("begin", "step", "step", "step_while_written", "restart", "set_back", "stir")
STEPS = st.lists(
    st.tuples(st.sampled_from(ORDINARY + READING), st.integers(0, 200)), min_size=5, max_size=60
)


async def story(
    opened: Callable[[ManualClock], AbstractAsyncContextManager[Store]],
    steps: list[tuple[str, int]],
) -> None:
    clock = ManualClock()
    async with opened(clock) as store:
        world = World(store, clock)
        for number in range(9):
            await world.publish(number)
        for name, pick in steps:
            await getattr(world, name)(pick)
        await world.finish()


@settings(max_examples=max(300, examples()), deadline=None)
@given(STEPS)
def test_the_protocol_shows_each_post_once(steps: list[tuple[str, int]]) -> None:
    asyncio.run(story(memory, steps))


@settings(max_examples=max(60, examples()), deadline=None)
@given(STEPS)
def test_sqlite_shows_each_post_once(steps: list[tuple[str, int]]) -> None:
    asyncio.run(story(sqlite, steps))


@settings(max_examples=max(100, examples()), deadline=None)
@given(STEPS, st.sampled_from([1, 3]))
def test_dynamodb_shows_each_post_once_though_clocks_differ(
    steps: list[tuple[str, int]], shards: int
) -> None:
    asyncio.run(story(dynamodb(shards), steps))


CHANGES = st.lists(st.tuples(st.integers(0, 4), st.integers(-2, 3)), max_size=40)


@given(CHANGES)
def test_of_a_post_one_rank_is_valid_in_every_epoch_that_is_over(
    changes: list[tuple[int, int]],
) -> None:
    """And it is the one that it had at the epoch's end, whatever clocks say."""
    current_rank, past, epoch = CurrentRank(0), list[Ranked](), 1000
    at_end: dict[int, int] = {}
    largest = 0
    for total, later in changes:
        epoch = max(1, epoch + later)
        largest = max(largest, epoch)
        current_rank, gone = change_rank("P", current_rank, total, largest)
        past += [gone] if gone else []
        at_end[largest] = current_rank.total
    every = [*past, Ranked(Position(current_rank.total, "P"), current_rank.since)]
    for query_epoch in range(990, largest + 2):
        valid = [rank.place.total for rank in every if is_valid(rank, query_epoch)]
        known = [at_end[since] for since in sorted(at_end) if since <= query_epoch]
        assert valid == [known[-1] if known else 0]


BACK_ENDS = pytest.mark.parametrize(
    "opened", [memory, sqlite, dynamodb(1)], ids=["memory", "sqlite", "aws"]
)


@BACK_ENDS
def test_when_more_has_moved_than_a_page_reads_none_is_missed(
    opened: Callable[[ManualClock], AbstractAsyncContextManager[Store]],
) -> None:
    async def all_move() -> None:
        clock = ManualClock()
        async with opened(clock) as store:
            world = World(store, clock)
            for _ in range(80):
                await world.publish(0)
            await world.begin(0)
            clock.advance(3 * EPOCH_MS)
            for number in range(80):
                await world.comment(2 * number)
            (walk,) = world.walks
            while world.walks:
                await world.step(0)
            assert sorted(walk.shown) == sorted(world.creators)

    asyncio.run(all_move())


@BACK_ENDS
def test_a_cursor_that_is_too_old_goes_on_live_at_its_place(
    opened: Callable[[ManualClock], AbstractAsyncContextManager[Store]],
) -> None:
    async def an_hour_later() -> None:
        clock = ManualClock()
        async with opened(clock) as store:
            world = World(store, clock)
            for number in range(9):
                await world.publish(2 * number)
            clock.advance(3 * EPOCH_MS)
            ids = sorted(world.creators, reverse=True)
            query = FeedQuery(sort=FeedSort.TOP, limit=2, epoch=epoch_of(clock.now_ms()))
            first = await store.feed.page(query)
            await world.comment(0)  # the last post is now the first
            clock.advance((PAST_EPOCHS + 3) * EPOCH_MS)
            shown = [stored.id for stored in first.items]
            after = first.next
            while after is not None:
                epoch = epoch_of(clock.now_ms())
                page = await store.feed.page(
                    FeedQuery(sort=FeedSort.TOP, limit=2, epoch=epoch, after=after)
                )
                shown += [stored.id for stored in page.items]
                after = page.next
            assert shown == [*ids[:2], ids[-1], *ids[2:-1]]

    asyncio.run(an_hour_later())


@pytest.mark.parametrize("opened", [dynamodb(1), dynamodb(3)], ids=["1 shard", "3 shards"])
def test_a_rank_of_a_lambda_whose_clock_was_ahead_becomes_right_with_its_next_change(
    opened: Callable[[ManualClock], AbstractAsyncContextManager[Store]],
) -> None:
    """Until then the post is shown where it was; after that no past rank shows it twice."""

    async def ahead() -> None:
        clock = ManualClock()
        async with opened(clock) as store:
            assert store.count is not None
            world = World(store, clock)
            for _ in range(4):
                await world.publish(0)
            ids = sorted(world.creators)
            for ahead_ms in (365 * 24 * 3600 * 1000, 0):
                comment = a_comment(ids[0])
                await store.comments.add(comment)
                await store.count(ids[0], comment.id, ahead_ms)
                clock.advance(4 * EPOCH_MS)
                await world.begin(0)
                while world.walks:
                    await world.step(0)
            after = FeedCursor(9, "", as_of=epoch_of(clock.now_ms()) - 2)
            query = FeedQuery(
                sort=FeedSort.TOP, limit=4, epoch=epoch_of(clock.now_ms()), after=after
            )
            page = await store.feed.page(query)
            assert [stored.id for stored in page.items] == [ids[0], *ids[:0:-1]]

    asyncio.run(ahead())
