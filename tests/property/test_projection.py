"""Counts on AWS are exact, even if stream records are delivered twice, late or in another order, or
if their handling breaks off.

The real stores and the real stream handler work on a table in memory (`support/dynamodb.py`), whose
records an event-source mapping delivers as AWS documents it.
"""

import asyncio
import random
from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.ports.suite import a_comment, a_post, an_upload
from fakes.clock import ManualClock
from fakes.images import MemoryImageStore
from image_poster.adapters.dynamodb.checks import DynamoScheduledChecks
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.feed import DynamoFeedReader, DynamoFeedRebuilder
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.schema import COMMENT, GONE, RANK, post_key, ranked
from image_poster.adapters.dynamodb.stream import decoded_records
from image_poster.adapters.s3.images import CloudFrontImageCache
from image_poster.domain.comments import (
    Comment,
    CommentState,
    Tally,
    decode_comment,
    encode_comment,
    fold,
    join_latest,
    needs_newest,
)
from image_poster.domain.errors import BusyError, CommentNotFoundError, PostNotFoundError
from image_poster.domain.feed import FeedQuery, FeedSort, Position
from image_poster.domain.identity import Identity
from image_poster.domain.limits import LATEST_KEPT
from image_poster.domain.posts import published_post
from image_poster.editions.aws.events import ChangeApplier
from image_poster.editions.aws.image_work import PublishedCopies, RenditionPlaces
from image_poster.services.posts import PostPurger
from support.dynamodb import CrashError, EventSourceMapping, FakeTable, Record
from support.examples import examples
from support.filters import passes
from support.renderer import RENDERED
from support.throttling import ThrottledTable, patiently, run_simulated

EXAMPLES = settings(max_examples=max(200, examples()), deadline=None)
ALICE = Identity("alice")


class Noted:
    """Notes the posts whose image work was begun, and those whose copies in the CDN were
    invalidated; all calls may fail."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.forgotten: list[str] = []
        self.fails = False

    async def start(self, post_id: str) -> None:
        if self.fails:
            raise BusyError
        self.begun.append(post_id)

    async def forget(self, post_id: str, reference: str) -> None:
        assert reference.startswith(f"{post_id}-")
        if self.fails:
            raise BusyError
        self.forgotten.append(post_id)


class World:
    """The stores of AWS over a table in memory, and what follows its stream."""

    def __init__(self, seed: int = 0, crashes: float = 0.0, table: FakeTable | None = None) -> None:
        self.random = random.Random(seed)
        self.table, self.clock, self.noted = table or FakeTable(), ManualClock(), Noted()
        self.posts = DynamoPostStore(self.table, self.clock)
        self.comments = DynamoCommentStore(self.table, self.clock)
        self.counter = DynamoCommentCounter(self.table, self.clock)
        self.images = MemoryImageStore(self.clock)
        copies = PublishedCopies(self.posts, self.noted.forget)
        purger = PostPurger(self.posts, self.images, copies.forget)
        due = DynamoScheduledChecks(self.table, self.clock)
        places = RenditionPlaces(self.posts, self.images, copies.forget)
        self.applier = ChangeApplier(self.counter, self.noted.start, purger, due, places.withdraw)
        self.crashes = crashes
        self.seen = 0

    async def ready(self) -> str:
        post = a_post()
        await self.posts.add(post)
        await self.posts.update(post.id, lambda current: published_post(current, RENDERED))
        return post.id

    async def handle(self, event: Record) -> dict[str, Any]:
        """The stream Lambda, which may end at any write, before or after it."""

        def maybe_crash() -> None:
            if self.random.random() < self.crashes:
                raise CrashError

        self.table.around = maybe_crash
        try:
            failed = await self.applier.apply(decoded_records(event["Records"]))
        finally:
            self.table.around = lambda: None
        return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}

    async def settle(self, *, batch: int = 10, repeats: float = 0.2) -> EventSourceMapping:
        """Deliver records until none is left; records of our own writes included."""
        mapping = EventSourceMapping(self.handle, seed=self.random.randrange(10**6))
        while self.seen < len(self.table.stream):
            records, self.seen = self.table.stream[self.seen :], len(self.table.stream)
            await mapping.deliver(records, batch=batch, repeats=repeats)
        return mapping

    def remaining(self, post_id: str) -> list[Comment]:
        """The comments that are there and not deleted, newest first."""
        comments = [
            decode_comment(str(item["doc"]).encode())
            for key, item in self.table.items.items()
            if key.pk == f"POST#{post_id}"
            and key.sk.startswith(COMMENT)
            and "deleted_by" not in item
        ]
        return sorted(comments, key=lambda comment: comment.id, reverse=True)

    async def assert_exact(self, post_id: str) -> None:
        comments = self.remaining(post_id)
        item = self.table.items[post_key(post_id)]
        assert item["total"] == len(comments)
        assert item["latest"] == join_latest(map(encode_comment, comments)).decode()
        assert ranked(str(item["rank"])).place == Position(len(comments), post_id)
        marked = [i for k, i in self.table.items.items() if k.pk == post_key(post_id).pk]
        assert not [item for item in marked if "doc" in item and "deleted_by" in item]
        assert all(item["counted"] for item in marked if "doc" in item)


run = run_simulated

# Units a second of each partition; None: no limit. A transaction of 97 claims costs 200.
BUDGETS = st.sampled_from([None, 1000.0, 40.0])


def table_with(budget: float | None) -> FakeTable:
    return FakeTable() if budget is None else ThrottledTable(budget)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "edit", "delete", "deliver"]), st.integers(0, 30)
    ),
    max_size=60,
)


async def do(world: World, post_id: str, steps: Iterable[tuple[str, int]]) -> None:
    comments: list[Comment] = []
    for step, pick in steps:
        if step == "deliver":
            await world.settle()
        elif step == "add" or not comments:
            comment = a_comment(post_id, content=f"number {len(comments)}")
            comments.append(comment)
            await patiently(partial(world.comments.add, comment))
        elif step == "edit":
            await patiently(partial(edit, world, comments[pick % len(comments)], f"edited {pick}"))
        else:
            comment = comments[pick % len(comments)]
            await patiently(partial(world.comments.remove, post_id, comment.id, Identity("bob")))


async def edit(world: World, comment: Comment, content: str) -> None:
    try:
        await world.comments.update(
            comment.post_id,
            comment.id,
            lambda current: msgspec.structs.replace(current, content=content),
        )
    except CommentNotFoundError:
        return


@EXAMPLES
@given(
    steps=STEPS,
    seed=st.integers(0, 10**6),
    crashes=st.sampled_from([0.0, 0.05, 0.2]),
    budget=BUDGETS,
)
def test_whatever_is_delivered_twice_late_or_broken_off_counts_are_exact(
    steps: list[tuple[str, int]], seed: int, crashes: float, budget: float | None
) -> None:
    """Duplicates, reordering across items, crashes between any two steps, partial failures, deletes
    that overtake their inserts, edits of a latest comment, throttling."""

    async def story() -> None:
        world = World(seed, crashes, table_with(budget))
        post_id = await world.ready()
        await do(world, post_id, steps)
        mapping = await world.settle()
        assert mapping.parked == []
        await world.assert_exact(post_id)

    run(story)


@EXAMPLES
@given(
    comments=st.integers(0, 30),
    late=st.integers(0, 10),
    seed=st.integers(0, 10**6),
    crashes=st.sampled_from([0.0, 0.1]),
)
def test_a_deleted_post_leaves_nothing_behind_though_comments_are_in_flight(
    comments: int, late: int, seed: int, crashes: float
) -> None:
    """The cascade is resumable; a warm Lambda remembers the post, and comments on after it is
    gone."""

    async def story() -> None:
        world = World(seed, crashes)
        post_id = await world.ready()
        world.images.keep(post_id, "original", b"bytes")
        for _ in range(comments):
            await world.comments.add(a_comment(post_id))
        if seed % 2:
            await world.settle()
        await world.comments.add(a_comment(post_id))
        await world.posts.remove(post_id, ALICE)
        for _ in range(late):
            await world.comments.add(a_comment(post_id))
        await world.settle()
        left = {key.sk for key in world.table.items if key.pk == post_key(post_id).pk}
        assert {sk for sk in left if not sk.startswith((GONE, RANK))} == {"POST"}
        assert world.table.items[post_key(post_id)]["status"] == "deleted"
        assert world.noted.forgotten
        with pytest.raises(Exception, match="image"):
            await world.images.open_original(post_id)

    run(story)


@EXAMPLES
@given(
    adds=st.integers(0, 25),
    workers=st.integers(2, 4),
    seed=st.integers(0, 10**6),
    budget=BUDGETS,
)
def test_many_invocations_at_once_count_once(
    adds: int, workers: int, seed: int, budget: float | None
) -> None:
    """Comments of one post may lie in several shards of the stream: several invocations work on one
    post at the same time, on overlapping batches."""

    async def story() -> None:
        world = World(seed, table=table_with(budget))
        post_id = await world.ready()
        for _ in range(adds):
            await patiently(partial(world.comments.add, a_comment(post_id)))
        records = list(world.table.stream)

        async def invoke(number: int) -> None:
            mine = random.Random(seed + number)
            for _ in range(3):
                part = mine.sample(records, mine.randint(1, len(records)))
                await world.handle({"Records": part})
                await asyncio.sleep(0)

        await asyncio.gather(*(invoke(number) for number in range(workers)))
        mapping = await world.settle()
        assert mapping.parked == []
        await world.assert_exact(post_id)

    run(story)


COMMENTS = st.lists(
    st.tuples(st.integers(0, 40), st.booleans(), st.booleans()),
    unique_by=lambda state: state[0],
    max_size=30,
)


@EXAMPLES
@given(
    entries=COMMENTS,
    latest_count=st.integers(1, LATEST_KEPT),
    parts=st.integers(1, 4),
    longest=st.sampled_from([7, 3000, 8000, 20_000]),
)
def test_the_fold_of_parts_is_the_fold_of_the_whole(
    entries: list[tuple[int, bool, bool]], latest_count: int, parts: int, longest: int
) -> None:
    """`fold` is pure: in any portions of comments, total and latest end the same. That holds also
    where there is no room for as many as are stored."""
    states = [
        CommentState(
            f"{number:026d}",
            encode_comment(
                Comment(f"{number:026d}", "p", "bob", "x" * (number * 7919 % longest), "now")
            ),
            counted=counted,
            deleted_by="bob" if deleted else None,
        )
        for number, counted, deleted in entries
    ]
    before = Tally(
        sum(state.counted for state in states), newest(states, latest_count, visible=False)
    )
    alive = [state for state in states if not state.deleted_by]
    whole = Tally(
        len(alive), newest([state._replace(counted=True) for state in alive], latest_count)
    )

    now, world = before, {state.id: state for state in states}
    for at in range(parts):
        part = [world[state.id] for state in states[at::parts]]
        refill: list[bytes] | None = None
        if needs_newest(now, part, latest_count):
            shown = [state for state in world.values() if state.counted and not state.deleted_by]
            refill = [state.doc for state in sorted(shown, reverse=True)[:latest_count]]
        result = fold(now, part, refill, latest_count)
        now = result.tally
        for state in result.claimed:
            world[state.id] = state._replace(counted=True)
        for state in (*result.released, *result.dropped):
            del world[state.id]
        again = fold(
            now, [world[state.id] for state in part if state.id in world], refill, latest_count
        )
        assert (again.tally.total, again.claimed, again.released) == (now.total, [], [])
    assert now == whole


def newest(states: Iterable[CommentState], latest_count: int, *, visible: bool = True) -> bytes:
    """The latest of those that are counted."""
    shown = [state for state in states if state.counted and not (visible and state.deleted_by)]
    return join_latest(
        (state.doc for state in sorted(shown, key=lambda state: state.id, reverse=True)),
        latest_count,
    )


def test_two_hundred_writers_on_one_post_meet_no_conflict() -> None:
    """Adding a comment never touches the post's own item; the projection works meanwhile."""

    async def story() -> None:
        world = World(1)
        post_id = await world.ready()
        before = world.table.conflicts

        async def write(_: int) -> None:
            for _ in range(5):
                await world.comments.add(a_comment(post_id))
                await asyncio.sleep(0)

        async def project() -> None:
            for _ in range(20):
                await world.handle({"Records": world.table.stream[:]})
                await asyncio.sleep(0)

        await asyncio.gather(project(), *(write(number) for number in range(200)))
        assert world.table.conflicts == before
        await world.settle(batch=1000, repeats=0)
        assert world.table.items[post_key(post_id)]["total"] == 1000
        await world.assert_exact(post_id)

    run(story)


def test_a_hot_post_of_thousands_is_folded_in_few_transactions() -> None:
    """10,000 comments in at most 150 transactions of at most 100 items."""

    async def story() -> None:
        world = World(2)
        post_id = await world.ready()
        for number in range(10_000):
            await world.comments.add(a_comment(post_id, content=str(number)))
        before = world.table.calls["transact"]
        records, batch = world.table.stream[:], 990  # `BatchSize` in infra/template.yaml
        for at in range(0, len(records), batch):
            await world.handle({"Records": records[at : at + batch]})
        assert world.table.calls["transact"] - before <= 150
        await world.assert_exact(post_id)

    run(story)


def test_the_rank_in_the_feed_never_lags_behind_the_count() -> None:
    """They differed for a while in the prototype. Now one update writes both."""

    async def story() -> None:
        world = World(3)
        older, newer = await world.ready(), await world.ready()
        feed = DynamoFeedReader(world.table)
        await world.comments.add(a_comment(older))
        await world.settle()
        page = await feed.page(FeedQuery(epoch=1000, sort=FeedSort.TOP, limit=10))
        assert [(post.id, post.total_comments) for post in page.items] == [(older, 1), (newer, 0)]

    run(story)


def test_a_retried_stream_batch_counts_once() -> None:
    """A defect of the prototype."""

    async def story() -> None:
        world = World(4)
        post_id = await world.ready()
        await world.comments.add(a_comment(post_id))
        for _ in range(3):
            await world.handle({"Records": world.table.stream[:]})
        assert world.table.items[post_key(post_id)]["total"] == 1

    run(story)


def test_a_deleted_comment_is_taken_back_and_its_repeat_is_no_error() -> None:
    """A defect of the prototype: it had no deletion at all."""

    async def story() -> None:
        world, bob = World(5), Identity("bob")
        post_id = await world.ready()
        comment = a_comment(post_id)
        await world.comments.add(comment)
        await world.settle()
        for _ in range(2):
            await world.comments.remove(post_id, comment.id, bob)
            await world.settle()
        await world.assert_exact(post_id)
        with pytest.raises(CommentNotFoundError):
            await world.comments.remove(post_id, comment.id, Identity("mallory"))
        world.table.expire(world.clock.now_ms() // 1000 + 8 * 24 * 3600)
        with pytest.raises(CommentNotFoundError):
            await world.comments.remove(post_id, comment.id, bob)

    run(story)


@pytest.mark.parametrize("by_rebuild", [False, True])
def test_a_post_with_a_status_of_a_later_version_is_counted_like_any(*, by_rebuild: bool) -> None:
    """The status is one that a later version adds, such as hidden. Comments that were under way are
    counted, and the post stays out of the feed."""

    async def story() -> None:
        world = World()
        post_id = await world.ready()
        for number in range(3):
            await world.comments.add(a_comment(post_id, content=f"number {number}"))
        item = world.table.items[post_key(post_id)]
        item.update(status="hidden", version=int(item["version"]) + 1)
        del item["feed"], item["creator_feed"]
        if by_rebuild:
            await DynamoFeedRebuilder(world.table, world.counter).rebuild(None, 100)
        else:
            mapping = await world.settle()
            assert mapping.parked == []
        await world.assert_exact(post_id)
        assert "feed" not in world.table.items[post_key(post_id)]

    run(story)


def test_rebuild_finds_what_the_stream_never_told() -> None:
    async def story() -> None:
        world = World(6)
        post_id, other = await world.ready(), await world.ready()
        for number in range(15):
            await world.comments.add(a_comment(post_id, content=str(number)))
        await world.comments.remove(post_id, world.remaining(post_id)[0].id, Identity("bob"))
        item = world.table.items[post_key(other)]
        item |= {"total": 7, "rank": f"{7:010d}#{other}", "feed": "FEED#9"}
        projection = DynamoFeedRebuilder(world.table, world.counter, shards=1)
        batch = await projection.rebuild(None, 1000)
        assert sorted(
            (drift.post_id, drift.total_was, drift.total_is) for drift in batch.drifted
        ) == [
            *sorted([(post_id, 0, 14), (other, 7, 0)]),
        ]
        await world.assert_exact(post_id)
        await world.assert_exact(other)
        assert world.table.items[post_key(other)]["feed"] == "FEED#0"

    run(story)


def test_an_abandoned_upload_expires_with_its_pieces() -> None:
    """TTL removes the item, and the stream's record of that is applied like any other."""

    async def story() -> None:
        world = World(8)
        post, upload = an_upload()
        await world.posts.add(post, None, upload)
        world.images.receive(post.id, b"a piece")
        world.table.expire(upload.expires_ms // 1000)
        assert await world.posts.find(post.id) is not None
        world.table.expire(upload.expires_ms // 1000 + 24 * 3600)
        await world.settle()
        assert await world.posts.find(post.id) is None
        assert world.images.received(post.id) == b""
        with pytest.raises(PostNotFoundError):
            await world.comments.add(a_comment(post.id))

    run(story)


def test_a_fault_of_one_post_does_not_hold_up_the_others() -> None:
    """`ReportBatchItemFailures`: the first record of the post that failed is named."""

    async def story() -> None:
        world = World(7)
        bad, good = await world.ready(), await world.ready()
        start = len(world.table.stream)
        await world.comments.add(a_comment(good))
        await world.comments.add(a_comment(bad))
        count = world.counter.count

        async def failing(post_id: str, comment_ids: Iterable[str], _: object) -> None:
            if post_id == bad:
                raise PostNotFoundError
            await count(post_id, comment_ids)

        world.counter.count = failing  # type: ignore[method-assign, assignment]
        answer = await world.handle({"Records": world.table.stream[start:]})
        number = world.table.stream[start + 1]["dynamodb"]["SequenceNumber"]
        assert answer == {"batchItemFailures": [{"itemIdentifier": number}]}
        assert world.table.items[post_key(good)]["total"] == 1

    run(story)


def test_records_of_our_own_writes_cost_no_invocation() -> None:
    """Claims and counts are records too: half of all, and filtered out."""

    async def story() -> None:
        world = World(9)
        post_id = await world.ready()
        comments = [a_comment(post_id) for _ in range(20)]
        for comment in comments:
            await world.comments.add(comment)
        await edit(world, comments[3], "edited")
        mapping = await world.settle(repeats=0)
        assert mapping.delivered == 1 + 20 + 1  # processing, the comments, the edit
        echoes = len(world.table.stream) - mapping.delivered
        assert echoes >= 20
        await edit(world, comments[3], "edited again")
        await world.comments.remove(post_id, comments[4].id, Identity("bob"))
        assert (await world.settle(repeats=0)).delivered == 2
        await world.assert_exact(post_id)

    run(story)


def test_neither_the_cdn_nor_the_storage_of_images_can_stall_counting() -> None:
    """Their work is logged and due: no record of the batch comes again for them."""

    async def story() -> None:
        world = World(10)
        gone, waiting, other = await world.ready(), a_post(), await world.ready()
        await world.posts.add(waiting)
        await world.posts.remove(gone, ALICE)
        await world.comments.add(a_comment(other))
        world.noted.fails = True
        answer = await world.handle({"Records": list(filter(passes, world.table.stream))})
        assert answer == {"batchItemFailures": []}
        assert world.table.items[post_key(other)]["total"] == 1
        due = DynamoScheduledChecks(world.table, world.clock)
        assert {entry.post_id async for entry in due.due()} >= {gone, waiting.id}

    run(story)


def test_the_cdn_is_asked_only_for_what_was_published_and_path_by_path() -> None:
    """15 paths with a wildcard may be in progress, 3,000 of others, and each is paid for."""

    async def story() -> None:
        world = World(11)
        shown = await world.ready()
        never = a_post()
        await world.posts.add(never)
        await world.posts.remove(shown, ALICE)
        await world.posts.remove(never.id, ALICE)
        await world.settle()
        assert set(world.noted.forgotten) == {shown}
        cloudfront = FakeCloudFront()
        await CloudFrontImageCache(cloudfront, "E1").forget(shown, "reference")
        paths = cloudfront.request["InvalidationBatch"]["Paths"]
        assert paths == {
            "Quantity": 2,
            "Items": [f"/images/{shown}/600.jpg", f"/images/{shown}/1600.jpg"],
        }

    run(story)


class FakeCloudFront:
    """CloudFront that accepts and notes any invalidation."""

    def create_invalidation(self, **request: Any) -> None:
        self.request = request


def test_a_deletion_in_this_environment_forgets_the_remembered_post_at_once() -> None:
    async def story() -> None:
        table, clock = FakeTable(), ManualClock()
        comments = DynamoCommentStore(table, clock)
        posts = DynamoPostStore(table, clock, removed=comments.forget)
        post = a_post()
        await posts.add(post)
        await posts.update(post.id, lambda current: published_post(current, RENDERED))
        await comments.add(a_comment(post.id))  # from here on it is remembered
        await posts.remove(post.id, ALICE)
        with pytest.raises(PostNotFoundError):
            await comments.add(a_comment(post.id))

    run(story)
