"""Limits that hold some seconds late, by what the table's stream tells (AWS)."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.ports.suite import ALICE, a_comment, a_post, an_upload
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.stream import changes_by_user, decoded_records
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore, DynamoUsageStore
from image_poster.domain.accounts import (
    NO_USAGE,
    Booking,
    Usage,
    add_upload,
    add_write,
    remove_upload,
)
from image_poster.domain.comments import Comment
from image_poster.domain.errors import BusyError, RateLimitedError
from image_poster.domain.limits import Limits, Rates
from image_poster.domain.posts import Post, published_post, uploaded_post
from image_poster.editions.aws.events import EventualQuotas, UsageRecorder
from support.dynamodb import FakeTable, Record
from support.filters import passes
from support.renderer import RENDERED

pytestmark = pytest.mark.anyio
RATES = Rates(writes_per_minute=5)
LIMITS = Limits(rates=RATES)
REMEMBERED_MS = 10_000


class World:
    """The stores of AWS over a table in memory, and what follows its stream."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.table, self.clock, self.seen = FakeTable(), ManualClock(), 0
        self.usage = DynamoUsageStore(self.table, self.clock)
        self.limits = EventualQuotas(self.usage, self.clock, limits)
        self.posts = DynamoPostStore(self.table, self.clock, quotas=self.limits)
        self.comments = DynamoCommentStore(self.table, self.clock)
        records = DynamoUploadRecordStore(self.table)
        self.counter = UsageRecorder(self.usage, records, self.posts, self.clock, limits)

    async def ready(self) -> str:
        post = a_post()
        await self.posts.add(post)
        await self.posts.update(post.id, lambda current: published_post(current, RENDERED))
        return post.id

    def news(self) -> list[Record]:
        """The changes that reach the stream Lambda."""
        records, self.seen = self.table.stream[self.seen :], len(self.table.stream)
        return list(filter(passes, records))

    async def told(self) -> Usage:
        await self.counter.record_batch(decoded_records(self.news()), [])
        return await self.usage.find("alice")


@pytest.fixture
def world() -> World:
    return World()


async def test_too_many_writes_stop_a_user_within_fifteen_seconds_and_for_as_long_as_told(
    world: World,
) -> None:
    post_id = await world.ready()
    await world.limits.count("bob")
    for _ in range(6):
        await world.comments.add(a_comment(post_id, creator="bob"))
    await world.told()
    await world.limits.count("bob")  # what was read is remembered
    world.clock.advance(REMEMBERED_MS)
    with pytest.raises(RateLimitedError) as refused:
        await world.limits.count("bob")
    assert refused.value.limit == "writes_per_minute"
    await world.limits.count("alice")
    world.clock.advance(1000 * (refused.value.retry_after or 0))
    await world.limits.count("bob")


async def test_whoever_is_asked_about_is_read_every_ten_seconds_at_most(world: World) -> None:
    for _ in range(9):
        await world.limits.count("alice")
        await world.limits.admit("alice", an_upload()[1])
        world.clock.advance(1000)
    assert world.table.calls["get_many"] == 1
    world.clock.advance(1000)
    await world.limits.count("alice")
    assert world.table.calls["get_many"] == 2


def edited(post: Post) -> Post:
    return msgspec.structs.replace(post, edited_at="now")


async def test_every_kind_of_write_counts_once_and_none_of_the_services_own(world: World) -> None:
    post_id = await world.ready()
    assert (await world.told()).writes == 1
    comment = a_comment(post_id, creator="alice")
    await world.comments.add(comment)
    assert (await world.told()).writes == 2
    await DynamoCommentCounter(world.table, world.clock).count(post_id, [comment.id])
    assert (await world.told()).writes == 2
    await world.comments.update(post_id, comment.id, _other_words)
    assert (await world.told()).writes == 3
    await world.posts.update(post_id, edited)
    assert (await world.told()).writes == 4
    await world.comments.remove(post_id, comment.id, ALICE)
    assert (await world.told()).writes == 5
    await world.posts.remove(post_id, ALICE)
    assert (await world.told()).writes == 6
    await world.posts.remove(post_id, ALICE)
    assert (await world.told()).writes == 6


def _other_words(comment: Comment) -> Comment:
    return msgspec.structs.replace(comment, content="other words")


async def test_after_an_edit_folds_are_no_news(world: World) -> None:
    """Else each would cost an invocation."""
    post_id = await world.ready()
    await world.posts.update(post_id, edited)
    comment = a_comment(post_id)
    await world.comments.add(comment)
    await world.told()
    await DynamoCommentCounter(world.table, world.clock).count(post_id, [comment.id])
    assert world.news() == []


async def test_pieces_of_an_upload_are_no_news(world: World) -> None:
    post, upload = an_upload(8)
    await world.posts.add(post, None, upload)
    assert len(world.news()) == 1
    for at in range(8):
        await DynamoUploadRecordStore(world.table).advance(post.id, at, at + 1)
    assert world.news() == []
    await world.posts.update(post.id, uploaded_post)
    assert len(world.news()) == 1


async def test_what_comes_again_is_told_then_and_not_twice(world: World) -> None:
    """As where one post's changes could not be applied: the records from there on are delivered
    again, and those before are not."""
    post_id = await world.ready()
    for _ in range(3):
        await world.comments.add(a_comment(post_id, creator="alice"))
    records = world.news()
    failed = records[2]["dynamodb"]["SequenceNumber"]
    await world.counter.record_batch(decoded_records(records), [failed])
    assert (await world.usage.find("alice")).writes == 2
    await world.counter.record_batch(decoded_records(records[2:]), [])
    assert (await world.usage.find("alice")).writes == 4


async def test_limits_that_cannot_be_told_hold_nothing_else_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    post_id = await world.ready()
    await world.told()
    await world.comments.add(a_comment(post_id, creator="alice"))

    async def busy(*_: Any) -> None:
        raise BusyError

    monkeypatch.setattr(world.usage, "update", busy)
    await world.counter.record_batch(decoded_records(world.news()), [])


async def test_an_image_within_a_request_counts_once_it_is_stored() -> None:
    world = World(Limits(rates=Rates(bytes_per_day=100)))
    async with world.limits.reserve("alice", 60):
        await world.posts.add(a_post(), image_bytes=50)
    async with world.limits.reserve("alice", 50):
        pass  # refused, before any byte of it came
    world.clock.advance(REMEMBERED_MS)
    async with world.limits.reserve("alice", 50):
        pass
    with pytest.raises(RateLimitedError):
        async with world.limits.reserve("alice", 51):
            pass


def test_writes_are_counted_by_their_own_time_however_late_they_are_told() -> None:
    at = datetime(2026, 11, 25, 12, 0, 5, tzinfo=UTC)
    seconds = at.timestamp()
    for told in (at, seconds):
        record = {
            "dynamodb": {
                "Keys": {"PK": {"S": "POST#1"}, "SK": {"S": "COMMENT#1"}},
                "NewImage": {"creator": {"S": "bob"}, "doc": {"S": "{}"}},
                "ApproximateCreationDateTime": told,
                "SequenceNumber": "1",
            }
        }
        (changes,) = changes_by_user(decoded_records([record]), now_ms=0)
        assert (changes.user, changes.writes) == ("bob", [int(1000 * seconds)])


@given(st.lists(st.integers(0, 300_000), max_size=60))
def test_old_writes_stop_nobody_and_new_ones_do_as_on_one_machine(times: list[int]) -> None:
    usage = NO_USAGE
    for at in times:
        usage = add_write(usage, at, RATES)
    last = max(times, default=0)
    assert usage.stopped_until <= last + 120_000
    in_last_minute = sum(at // 60_000 == last // 60_000 for at in sorted(times))
    assert usage.writes == in_last_minute
    if usage.writes > 5:
        assert usage.stopped_until > last


def test_of_a_user_who_began_far_too_many_no_more_are_kept() -> None:
    """An item has 400 KB at most."""
    rates, usage = Rates(uploads_under_way=3), NO_USAGE
    for number in range(20):
        usage = add_upload(usage, f"{number}", Booking(1, 0, 1), rates)
    assert len(usage.under_way) == 6
    for number in range(20):
        usage = remove_upload(usage, f"{number}", 0)
    assert usage == NO_USAGE
