"""Bytes of a day and uploads under way, as `UploadQuota` says."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from contract.ports.suite import ALICE, DAY_MS, a_post, a_record, an_upload
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.stream import decoded_records
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore, DynamoUsageStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.adapters.sqlite.uploads import SqliteUploadQuota, SqliteUploadRecordStore
from image_poster.domain.errors import RateLimitedError
from image_poster.domain.idempotency import AlreadyAnsweredError
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits, Rates
from image_poster.domain.posts import uploaded_post
from image_poster.editions.aws.events import EventualQuotas, UsageRecorder
from image_poster.ports.posts import PostStore
from image_poster.ports.uploads import UploadQuota, UploadRecordStore
from support.dynamodb import FakeTable
from support.filters import passes

pytestmark = pytest.mark.anyio

IMAGE_BYTES = 60
LIMITS = Limits(image_bytes=IMAGE_BYTES, rates=Rates(bytes_per_day=100, uploads_under_way=3))


@dataclass
class Booked:
    """One back-end with limits."""

    clock: ManualClock
    posts: PostStore
    records: UploadRecordStore
    upload_quota: UploadQuota

    async def settled(self) -> None:
        """Wait until the next reader knows all that was written."""

    async def reserve(self, length: int | None, key: str | None = None) -> str:
        post, upload = an_upload(length)
        post = msgspec.structs.replace(post, id=self.clock.new_id())
        await self.settled()
        upload = type(upload)(length, self.clock.now_ms() + UPLOAD_KEPT_MS)
        await self.posts.add(post, a_record(key, "alice") if key else None, upload)
        return post.id

    async def left(self) -> int:
        """The bytes that alice may still book today."""
        await self.settled()
        for size in range(100, 0, -10):
            with suppress(RateLimitedError):
                async with self.upload_quota.reserve("alice", size):
                    return size
        return 0

    async def post(self, image_bytes: int, key: str | None = None) -> str:
        """A post whose image came with its request."""
        post = a_post()
        record = a_record(key, "alice") if key else None
        await self.posts.add(post, record, image_bytes=image_bytes)
        return post.id


@dataclass
class LateBooked(Booked):
    """As the stream tells of it, of which each record comes twice (AWS)."""

    table: FakeTable
    late: EventualQuotas
    counter: UsageRecorder
    position: int = field(default=0)

    async def settled(self) -> None:
        records, self.position = self.table.stream[self.position :], len(self.table.stream)
        for _ in range(2):
            await self.counter.record_batch(decoded_records(filter(passes, records)), [])
        self.late._cache.clear()  # as 10 s later, or in another process


def opened(database: Database, clock: ManualClock) -> Booked:
    quota = SqliteUploadQuota(database, clock, LIMITS)
    posts = SqlitePostStore(database, clock, quota)
    return Booked(clock, posts, SqliteUploadRecordStore(database), quota)


def opened_late(clock: ManualClock) -> LateBooked:
    table = FakeTable()
    store, records = DynamoUsageStore(table, clock), DynamoUploadRecordStore(table)
    late = EventualQuotas(store, clock, LIMITS)
    posts = DynamoPostStore(table, clock, quotas=late)
    counter = UsageRecorder(store, records, posts, clock, LIMITS)
    return LateBooked(clock, posts, records, late, table, late, counter)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Booked]:
    database = Database(tmp_path / "test.db")
    yield opened(database, ManualClock())
    await database.close()


@pytest.fixture(params=["sqlite", "dynamodb"])
def booked(request: pytest.FixtureRequest, sqlite: Booked) -> Booked:
    return sqlite if request.param == "sqlite" else opened_late(ManualClock())


async def test_an_upload_books_its_length_and_too_much_is_refused_with_nothing_kept(
    booked: Booked,
) -> None:
    await booked.reserve(70)
    with pytest.raises(RateLimitedError) as refused:
        await booked.reserve(40, key="k")
    assert refused.value.limit == "bytes_per_day"
    assert 0 < (refused.value.retry_after or 0) <= DAY_MS // 1000
    assert await booked.left() == 30
    await booked.reserve(30, key="k")  # the refused one has not used the key


async def test_others_have_bytes_of_their_own(booked: Booked) -> None:
    await booked.reserve(100)
    async with booked.upload_quota.reserve("bob", 100):
        pass


async def test_an_unknown_length_books_the_image_limit_until_it_is_known(booked: Booked) -> None:
    post_id = await booked.reserve(None)
    assert await booked.left() == 100 - IMAGE_BYTES
    await booked.records.declare_length(post_id, 20)
    assert await booked.left() == 80
    await booked.records.declare_length(post_id, 10)  # too late: it is 20
    assert await booked.left() == 80


async def test_an_upload_that_ends_unfinished_gives_its_bytes_back(booked: Booked) -> None:
    post_id = await booked.reserve(70)
    await booked.posts.remove(post_id, ALICE)
    assert await booked.left() == 100
    await booked.posts.remove(post_id, ALICE)
    assert await booked.left() == 100


async def test_one_that_was_finished_does_not_even_if_it_is_deleted(booked: Booked) -> None:
    post_id = await booked.reserve(70)
    await booked.posts.update(post_id, uploaded_post)
    await booked.posts.remove(post_id, ALICE)
    assert await booked.left() == 30


async def test_a_repeat_of_what_was_answered_is_never_refused(booked: Booked) -> None:
    await booked.reserve(90, key="k")
    with pytest.raises(AlreadyAnsweredError):
        await booked.reserve(90, key="k")
    assert await booked.left() == 10


async def test_the_next_day_begins_anew_and_yesterdays_bytes_are_not_given_back_in_it(
    booked: Booked,
) -> None:
    yesterdays = await booked.reserve(70)
    booked.clock.advance(DAY_MS - 1)
    await booked.reserve(90)
    await booked.posts.remove(yesterdays, ALICE)
    assert await booked.left() == 10


async def test_so_many_uploads_are_under_way_and_finished_or_expired_ones_are_not(
    booked: Booked,
) -> None:
    first, *_ = [await booked.reserve(1) for _ in range(3)]
    with pytest.raises(RateLimitedError) as refused:
        await booked.reserve(1)
    assert refused.value.limit == "uploads_under_way"
    assert refused.value.retry_after
    await booked.settled()
    with pytest.raises(RateLimitedError):
        async with booked.upload_quota.reserve("alice", 1):
            pass
    await booked.posts.update(first, uploaded_post)
    await booked.reserve(1)
    booked.clock.advance(UPLOAD_KEPT_MS)
    for _ in range(3):
        await booked.reserve(1)


async def test_bytes_that_are_not_kept_count_also_beyond_the_quota(booked: Booked) -> None:
    await booked.upload_quota.charge("alice", 30)
    await booked.upload_quota.charge("bob", 100)
    assert await booked.left() == 70
    await booked.upload_quota.charge("alice", 500)
    assert await booked.left() == 0
    with pytest.raises(RateLimitedError):
        await booked.reserve(1)
    booked.clock.advance(DAY_MS)
    await booked.reserve(60)


async def test_an_image_within_a_request_counts_with_its_post(booked: Booked) -> None:
    async with booked.upload_quota.reserve("alice", 60):
        await booked.post(50, key="k")
    assert await booked.left() == 50
    async with booked.upload_quota.reserve("alice", 50):
        pass  # it was refused
    with pytest.raises(AlreadyAnsweredError):
        await booked.post(50, key="k")
    assert await booked.left() == 50


async def test_while_an_image_arrives_its_bytes_and_its_place_are_reserved(sqlite: Booked) -> None:
    booked, quota = sqlite, sqlite.upload_quota
    async with quota.reserve("alice", 60):
        assert await booked.left() == 40
        with pytest.raises(RateLimitedError):
            await booked.reserve(41)
        await booked.reserve(1)
        async with quota.reserve("alice", 1):
            with pytest.raises(RateLimitedError) as refused:
                async with quota.reserve("alice", 1):
                    pass
            assert refused.value.limit == "uploads_under_way"
            with pytest.raises(RateLimitedError):
                await booked.reserve(1)
    with suppress(ZeroDivisionError):
        async with quota.reserve("alice", 90):
            raise ZeroDivisionError
    assert await booked.left() == 90


async def test_discarded_bytes_do_not_refuse_an_image_that_is_arriving(sqlite: Booked) -> None:
    """Its bytes are reserved; those of a refused upload come on top. The next image is refused."""
    booked, quota = sqlite, sqlite.upload_quota
    async with quota.reserve("alice", 60):
        await quota.charge("alice", 70)
        with pytest.raises(RateLimitedError):
            await booked.reserve(1)
        await booked.post(60)
    with pytest.raises(RateLimitedError):
        async with quota.reserve("alice", 1):
            pass
    with pytest.raises(RateLimitedError):
        await booked.post(1)  # nothing is reserved for it


async def test_several_processes_store_no_more_than_the_quota(tmp_path: Path) -> None:
    """Each knows only the images that it receives itself; the last to store is refused."""
    first, second = (Database(tmp_path / "shared.db") for _ in range(2))
    clock = ManualClock()
    here, there = opened(first, clock), opened(second, clock)
    async with here.upload_quota.reserve("alice", 60), there.upload_quota.reserve("alice", 60):
        await there.post(60)
        with pytest.raises(RateLimitedError) as refused:
            await here.post(60, key="k")
    assert refused.value.limit == "bytes_per_day"
    assert await here.left() == 40
    await here.post(40, key="k")  # the refused one has not used the key
    await first.close()
    await second.close()


async def test_a_restart_forgets_no_bytes_and_ends_the_requests_that_were_under_way(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    database = Database(tmp_path / "again.db")
    before = opened(database, clock)
    await before.reserve(20)
    await before.post(10)
    async with before.upload_quota.reserve("alice", 60):
        await database.close()
    database = Database(tmp_path / "again.db")
    after = opened(database, clock)
    with pytest.raises(RateLimitedError):
        await after.reserve(71)
    assert await after.left() == 70
    await after.reserve(1)
    await after.reserve(1)  # with the first that makes three: requests are no longer under way
    await database.close()


async def test_a_start_releases_what_requests_of_former_versions_reserved(tmp_path: Path) -> None:
    """They stored a reservation before the post. One with a post keeps its bytes."""
    clock, database = ManualClock(), Database(tmp_path / "former.db")
    post = a_post()
    await SqlitePostStore(database, clock).add(post)
    day, until = clock.now_ms() // DAY_MS, clock.now_ms() + UPLOAD_KEPT_MS

    def former(connection: sqlite3.Connection) -> None:
        rows = [(post.id, "alice", day, 30, until), ("cut off", "alice", day, 40, until)]
        connection.executemany("INSERT INTO bookings VALUES (?, ?, ?, ?, ?, 0)", rows)
        connection.execute("INSERT INTO daily_bytes VALUES ('alice', ?, 70)", (day,))

    await database.write(former)
    after = opened(database, clock)
    assert await after.left() == 30
    await SqliteUploadQuota(database, clock, LIMITS).release_former()
    assert await after.left() == 70
    for _ in range(3):
        await after.reserve(1)  # requests are no longer under way
    await database.close()


async def test_days_that_are_over_are_forgotten(tmp_path: Path) -> None:
    from image_poster.adapters.sqlite.idempotency import SqliteTombstoneQueue

    database = Database(tmp_path / "days.db")
    clock = ManualClock()

    async def forget_at(now_ms: int) -> None:
        await SqliteTombstoneQueue(database).forget(service_ms=now_ms, now_ms=now_ms)

    await opened(database, clock).reserve(20)
    await forget_at(clock.now_ms() + 7 * DAY_MS)
    assert len(database.read("SELECT * FROM daily_bytes")) == 1
    await forget_at(clock.now_ms() + 8 * DAY_MS)
    assert database.read("SELECT * FROM daily_bytes") == []
    await database.close()


async def test_a_wall_clock_that_was_ahead_locks_nobody_out(tmp_path: Path) -> None:
    """Neither uploads in progress nor the bytes of a day, once it is right again."""
    database = Database(tmp_path / "ahead.db")
    clock = ManualClock()
    right_ms, year_ms = clock.now_ms(), 365 * DAY_MS
    clock.set_wall(right_ms + year_ms)
    booked = opened(database, clock)
    for _ in range(3):
        await booked.reserve(30)
    with pytest.raises(RateLimitedError):
        await booked.reserve(1)
    clock.set_wall(right_ms)
    clock.advance(DAY_MS)
    async with booked.upload_quota.reserve("alice", 100):
        pass
    await database.close()


async def test_a_database_without_limits_books_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "none.db")
    clock = ManualClock()
    post, upload = an_upload(10)
    posts = SqlitePostStore(database, clock)
    await posts.add(post, None, upload)
    await posts.add(a_post(), image_bytes=10)
    assert database.read("SELECT * FROM bookings") == []
    assert database.read("SELECT * FROM daily_bytes") == []
    await database.close()
