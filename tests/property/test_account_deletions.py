"""On AWS, the deletion of an account removes all its data, and its comments from others' counts
exactly once. Stream records may be delivered twice, and each step may break off at any write."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.ports.suite import a_comment, a_post, a_record
from fakes.clock import ManualClock
from fakes.images import MemoryImageStore
from image_poster.adapters.dynamodb.accounts import DynamoAccountStore, DynamoReportStore
from image_poster.adapters.dynamodb.checks import DynamoScheduledChecks
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.schema import COMMENT, post_key, ranked
from image_poster.adapters.dynamodb.standing import DynamoBlockStore
from image_poster.adapters.dynamodb.stream import begun_deletions, decoded_records
from image_poster.domain.accounts import Block
from image_poster.domain.comments import Comment, decode_comment, encode_comment, join_latest
from image_poster.domain.errors import GoneError
from image_poster.domain.feed import Position
from image_poster.domain.identity import Identity
from image_poster.domain.limits import Limits
from image_poster.domain.moderation import Reason, Report
from image_poster.domain.posts import published_post
from image_poster.editions.aws.events import ChangeApplier
from image_poster.editions.aws.reconciliation import AccountDeletions, erase_content_in_time
from image_poster.services.accounts import AccountEraser
from image_poster.services.posts import NULL_NOTIFIER, PostPurger, PostService
from support.dynamodb import CrashError, EventSourceMapping, FakeTable, Record
from support.examples import examples
from support.filters import passes
from support.renderer import RENDERED

EXAMPLES = settings(max_examples=max(100, examples() // 2), deadline=None)
USERS = ("bob", "carol")
NOW = "2026-01-01T00:00:00.000Z"
SETTLED_MS = 10 * 60 * 1000


async def keep_copies(_post_id: str) -> None:
    """There is no CDN."""


class World:
    """The stores of AWS over a table in memory, its stream, and the reconciliation."""

    def __init__(self, seed: int, crashes: float) -> None:
        self.random, self.crashes = random.Random(seed), crashes
        self.table, self.clock = FakeTable(), ManualClock()
        table, clock = self.table, self.clock
        self.images = MemoryImageStore(clock)
        self.posts, self.comments = DynamoPostStore(table, clock), DynamoCommentStore(table, clock)
        self.reports, self.blocks = DynamoReportStore(table, clock), DynamoBlockStore(table, clock)
        self.accounts = DynamoAccountStore(table, clock, self.comments)
        self.counter = DynamoCommentCounter(table, clock)
        purger = PostPurger(self.posts, self.images)
        checks = DynamoScheduledChecks(table, clock)
        self.applier = ChangeApplier(self.counter, keep_copies, purger, checks, keep_copies)
        service = PostService(
            self.posts, self.images, clock, Limits(), lambda _: b"", NULL_NOTIFIER, 0
        )
        self.eraser = AccountEraser(self.accounts, service)
        self.deletions = AccountDeletions(self.accounts, self.eraser)
        self.seen = 0

    async def ready(self, creator: str) -> str:
        post = a_post(creator)
        await self.posts.add(post)
        await self.posts.update(post.id, lambda current: published_post(current, RENDERED))
        return post.id

    async def act(self, user: str, post_id: str) -> None:
        """A comment, which a retry repeats, and sometimes other data of the user."""
        number = self.random.randrange(10**9)
        comment = a_comment(post_id, user, f"a text by {user}")
        location = f"/posts/{post_id}/comments/{comment.id}"
        await self.comments.add(comment, a_record(f"key {number}", user, location=location))
        kind = self.random.randrange(4)
        if kind == 0:
            id_ = self.clock.new_id()
            text = f"a report by {user}"
            await self.reports.add(Report(id_, user, post_id, comment.id, Reason.SPAM, text, NOW))
        elif kind == 1:
            await self.blocks.add(user, Block(f"mallory {number % 3}", NOW))
        elif kind == 2:
            await self.ready(user)
        else:
            await self.comments.remove(post_id, comment.id, Identity(user))

    def _crash(self) -> None:
        if self.random.random() < self.crashes:
            raise CrashError

    async def handle(self, event: Record) -> dict[str, Any]:
        """The stream Lambda, which may end at any write."""
        self.table.around = self._crash
        try:
            failed = await self.applier.apply(decoded_records(event["Records"]))
            for user in begun_deletions(event["Records"]):
                await self.deletions.run(user, 30)
        finally:
            self.table.around = lambda: None
        return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}

    async def settle(self) -> None:
        mapping = EventSourceMapping(self.handle, seed=self.random.randrange(10**6), attempts=500)
        while self.seen < len(self.table.stream):
            records, self.seen = self.table.stream[self.seen :], len(self.table.stream)
            await mapping.deliver(records)
        assert mapping.parked == []

    async def delete(self, user: str) -> None:
        """`DELETE /me`, which may break off."""
        await self.accounts.begin_deletion(user)
        self.table.around = self._crash
        try:
            await erase_content_in_time(self.eraser, user)
        except CrashError:
            return
        finally:
            self.table.around = lambda: None

    async def reconcile(self) -> None:
        """Rounds of the reconciliation, each of which may break off, until no deletion is left."""
        self.clock.advance(SETTLED_MS)
        while await self.accounts.deleting():
            self.table.around = self._crash
            try:
                assert all([result is True async for _, result in self.deletions.run_all(900)])
            except CrashError:
                continue
            finally:
                self.table.around = lambda: None
        await self.settle()

    def remaining(self, post_id: str) -> list[Comment]:
        """The comments that are there, newest first."""
        comments = [
            decode_comment(str(item["doc"]).encode())
            for key, item in self.table.items.items()
            if key.pk == post_key(post_id).pk and key.sk.startswith(COMMENT)
        ]
        return sorted(comments, key=lambda comment: comment.id, reverse=True)

    def assert_exact(self, post_id: str) -> None:
        comments, item = self.remaining(post_id), self.table.items[post_key(post_id)]
        assert {comment.creator for comment in comments} <= {"carol"}
        assert item["total"] == len(comments)
        assert item["latest"] == join_latest(map(encode_comment, comments)).decode()
        assert ranked(str(item["rank"])).place == Position(len(comments), post_id)


@EXAMPLES
@given(
    steps=st.lists(st.tuples(st.sampled_from([*USERS, "deliver"]), st.integers(0, 2)), max_size=25),
    begin=st.integers(0, 25),
    late=st.integers(0, 3),
    seed=st.integers(0, 10**6),
    crashes=st.sampled_from([0.0, 0.02, 0.1]),
)
@pytest.mark.anyio
async def test_all_data_of_an_account_goes_and_others_counts_are_exact(
    steps: list[tuple[str, int]], begin: int, late: int, seed: int, crashes: float
) -> None:
    """Other processes accept comments of the user for some seconds more."""
    world = World(seed, crashes)
    posts = [await world.ready("alice") for _ in range(3)]
    for at, (step, post) in enumerate(steps):
        if at == begin:
            await world.delete("bob")
            world.clock.advance(1000)
        if step == "deliver":
            await world.settle()
        elif step == "carol" or at < begin:
            await world.act(step, posts[post])
    if begin >= len(steps):
        await world.delete("bob")
    for number in range(late):
        await world.comments.add(a_comment(posts[number], "bob", "a late text by bob"))
    await world.settle()
    await world.reconcile()
    for post_id in posts:
        world.assert_exact(post_id)
    assert "bob" not in repr(list(world.table.items.values()))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_late_retry_after_the_deletion_revives_nothing() -> None:
    world = World(0, 0)
    post_id = await world.ready("alice")
    record = a_record("key", "bob", location=f"/posts/{post_id}/comments/1")
    await world.comments.add(a_comment(post_id, "bob"), record)
    await world.delete("bob")
    await world.reconcile()
    with pytest.raises(GoneError):
        await world.comments.add(a_comment(post_id, "bob"), record)
    await world.comments.add(a_comment(post_id, "bob"), a_record("another key", "bob"))
    world.clock.advance(8 * 24 * 3600 * 1000)
    await world.comments.add(a_comment(post_id, "bob"), record)


@pytest.mark.anyio
async def test_a_deletion_ends_only_once_no_process_accepts_a_write_any_more() -> None:
    world = World(0, 0)
    await world.accounts.begin_deletion("bob")
    assert not await world.deletions.run("bob", 30)
    assert await world.accounts.deleting() == ["bob"]
    world.clock.advance(SETTLED_MS)
    assert await world.deletions.run("bob", 30)
    assert await world.accounts.deleting() == []


@pytest.mark.anyio
async def test_a_deletion_without_time_goes_on_later() -> None:
    world = World(0, 0)
    posts = [await world.ready("bob") for _ in range(40)]
    await world.accounts.begin_deletion("bob")
    assert not await world.deletions.run("bob", 0)
    assert [post_id for post_id in posts if await world.posts.find(post_id)] != []
    await world.reconcile()
    assert [post_id for post_id in posts if await world.posts.find(post_id)] == []


@pytest.mark.anyio
async def test_the_beginning_of_a_deletion_passes_the_filters_once() -> None:
    world = World(0, 0)
    for _ in range(2):
        await world.accounts.begin_deletion("bob")
    assert begun_deletions(filter(passes, world.table.stream)) == ["bob"]
    await world.accounts.finish_deletion("bob")
    assert begun_deletions(world.table.stream[1:]) == []
