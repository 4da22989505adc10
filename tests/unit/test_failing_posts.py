"""One post whose work fails stops no queue: the others have their turn, and the failure is told."""

import asyncio
from pathlib import Path

import pytest

from contract.ports.suite import ALICE, a_post
from fakes.clock import ManualClock
from fakes.images import MemoryImageStore
from fakes.jobs import MemoryJobQueue
from fakes.posts import MemoryPostStore, MemoryTombstoneQueue
from fakes.state import MemoryState
from fakes.uploads import MemoryUploadRecordStore, MemoryUploadStore
from image_poster.adapters.files.images import FileImageStore
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.sqlite.database import Database
from image_poster.domain.ids import new_id
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.domain.posts import PostStatus
from image_poster.domain.uploads import UploadOrder
from image_poster.editions.local.container import open_container
from image_poster.editions.local.data_folder import create_database
from image_poster.editions.local.doctor import replay
from image_poster.editions.local.maintenance import PostRetries, Sweeper, UploadSettler
from image_poster.editions.local.settings import Settings
from image_poster.ports.images import FilesRemainError
from image_poster.services.images import ImagePublisher, JobRunner
from image_poster.services.posts import PostPurger
from support.renderer import FakeRenderer
from support.services import services

pytestmark = pytest.mark.anyio

AT_ONCE = 0.0
EIGHT_DAYS_MS = 8 * 24 * 3600 * 1000


class FaultyImages(MemoryImageStore):
    """Images on a disk that fails for some posts."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.faulty: set[str] = set()

    def check(self, post_id: str) -> None:
        if post_id in self.faulty:
            raise PermissionError(13, "Permission denied", post_id)

    async def remove(self, post_id: str) -> None:
        self.check(post_id)
        await super().remove(post_id)

    async def has_original(self, post_id: str) -> bool:
        self.check(post_id)
        return await super().has_original(post_id)

    async def quarantine(self, post_id: str, now_ms: int) -> int:
        self.check(post_id)
        return await super().quarantine(post_id, now_ms)

    async def put_back(self, post_id: str, *, awaiting: bool) -> int:
        self.check(post_id)
        return await super().put_back(post_id, awaiting=awaiting)

    async def purge(self, post_id: str, before_ms: int) -> int:
        self.check(post_id)
        return await super().purge(post_id, before_ms)


class World:
    """A service in memory whose disk fails for some posts."""

    def __init__(self) -> None:
        self.clock, self.state = ManualClock(), MemoryState()
        self.images = FaultyImages(self.clock)
        self.posts = MemoryPostStore(self.state, self.clock)
        tombstones = MemoryTombstoneQueue(self.state)
        purger = PostPurger(tombstones, self.images)
        retries = PostRetries(AT_ONCE, AT_ONCE)
        self.sweeper = Sweeper(self.posts, self.images, tombstones, purger, self.clock, retries)

    async def new_post(self) -> str:
        post = a_post()
        self.images.keep(post.id, "original", b"bytes")
        await self.posts.add(post)
        return post.id

    def failing(self) -> set[str]:
        return {failure.post_id for failure in self.sweeper.retries.drain_failures()}


@pytest.fixture
def world() -> World:
    return World()


async def test_deletions_that_fail_stop_no_other_however_many(world: World) -> None:
    """More than are looked at in one go, and all of them before the one that can be purged."""
    posts = sorted([await world.new_post() for _ in range(251)])
    for post_id in posts:
        await world.posts.remove(post_id, ALICE)
    world.images.faulty = set(posts[:-1])
    assert await world.sweeper.purge_deleted() == 1
    assert world.failing() == world.images.faulty
    assert await world.sweeper.purge_deleted() == 0
    world.images.faulty = set(posts[:1])
    assert await world.sweeper.purge_deleted() == 249
    world.images.faulty = set()
    assert await world.sweeper.purge_deleted() == 1


async def test_a_deletion_that_fails_stops_no_sweep(world: World) -> None:
    failing, leftover, stuck = await world.new_post(), new_id(), new_id()
    await world.posts.remove(failing, ALICE)
    for post_id in (leftover, stuck):
        world.images.keep(post_id, "original", b"bytes")
    world.images.faulty = {failing, stuck}
    world.clock.advance(1000)
    swept = await world.sweeper.sweep(older_than_ms=world.clock.now_ms())
    assert (swept.deleted, swept.quarantined) == (0, 1)
    assert world.failing() == {failing, stuck}
    world.clock.advance(EIGHT_DAYS_MS)
    world.images.faulty = set()
    swept = await world.sweeper.sweep(older_than_ms=world.clock.now_ms())
    assert swept == (1, 1, 1)


async def test_quarantine_is_emptied_and_put_back_beside_a_post_that_fails(world: World) -> None:
    posts = [await world.new_post() for _ in range(2)]
    unknown = [new_id(), new_id()]
    for post_id in unknown:
        world.images.keep(post_id, "original", b"bytes")
    for post_id in (*posts, *unknown):
        await world.images.quarantine(post_id, world.clock.now_ms())
    world.images.faulty = {posts[0], unknown[0]}
    assert await world.sweeper.put_back() == 1
    assert world.failing() == {posts[0]}
    world.clock.advance(EIGHT_DAYS_MS)
    assert (await world.sweeper.sweep(older_than_ms=0)).purged == 1
    assert unknown[0] in world.failing()
    world.images.faulty = set()
    assert await world.sweeper.put_back() == 1


async def test_a_start_by_a_clock_that_is_ahead_keeps_the_quarantine(world: World) -> None:
    """Files were moved while only the wall clock was a year ahead. Then the server restarts, so
    that both clocks are."""
    unknown = new_id()
    world.images.keep(unknown, "original", b"bytes")
    world.clock.set_wall(world.clock.now_ms() + 365 * 24 * 3600 * 1000)
    swept = await world.sweeper.sweep(older_than_ms=world.clock.now_ms())
    assert swept.quarantined == 1
    world.clock.raise_to(world.clock.now_ms())
    assert (await world.sweeper.sweep(older_than_ms=0)).purged == 0
    world.clock.advance(EIGHT_DAYS_MS)
    assert (await world.sweeper.sweep(older_than_ms=0)).purged == 1


async def test_a_post_that_fails_waits_twice_as_long_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retries, tries, now = PostRetries(1.0, 4.0), list[float](), 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)

    async def fail() -> int:
        tries.append(now - 100)
        raise OSError

    async def succeed(value: int) -> int:
        return value

    while now < 120:
        assert await retries.run("work", "post", fail) == 0
        assert await retries.run("work", "other", succeed, 7) == 7
        now += 0.5
    assert tries == [0, 1, 3, 7, 11, 15, 19]
    assert len(retries.drain_failures()) == 7
    assert retries.drain_failures() == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OSError(5, "Input/output error"), "postponed"),
        (FileNotFoundError(2, "No such file"), "retried"),
        (KeyError("head"), "retried"),
    ],
)
async def test_image_work_that_breaks_stops_no_other(
    world: World, error: Exception, outcome: str
) -> None:
    """A fault of the disk waits until it is mended; any other is retried, then parked."""
    renderer, jobs = FakeRenderer(), MemoryJobQueue(world.state, world.clock)
    runner = JobRunner(jobs, ImagePublisher(world.posts, world.images, renderer), lease_ms=1000)
    failing, other = await world.new_post(), await world.new_post()
    renderer.troubles = [error]
    outcomes = {}
    for _ in range(2):
        done = await runner.run_next()
        assert done is not None
        outcomes[done.post_id] = done.outcome
    assert outcomes == {failing: outcome, other: "ready"}
    world.clock.advance(60_000)
    done = await runner.run_next()
    assert done is not None
    assert (done.post_id, done.outcome) == (failing, PostStatus.READY)


async def test_uploads_are_completed_and_expire_beside_one_that_fails(world: World) -> None:
    uploads = MemoryUploadStore(world.images)
    service = services(world.state, world.clock, images=world.images, uploads=uploads)
    records = MemoryUploadRecordStore(world.state)
    settler = UploadSettler(
        *(records, world.images, uploads, service.uploads, service.posts, world.clock),
        PostRetries(AT_ONCE, AT_ONCE),
    )
    ids = []
    for content in (b"all of ten", b"four", b"all of ten", b"four"):
        answer, _ = await service.uploads.reserve_by_tus(ALICE, UploadOrder(10), None)
        ids.append(answer.location.rpartition("/")[2])
        world.images.receive(ids[-1], content)
    world.images.faulty = set(ids[:2])
    assert await settler.complete() == 1
    world.clock.advance(UPLOAD_KEPT_MS)
    assert await settler.expire() == 1
    assert {failure.post_id for failure in settler.retries.drain_failures()} == set(ids[:2])
    world.images.faulty = set()
    assert (await settler.complete(), await settler.expire()) == (1, 1)


async def test_a_deletion_is_answered_once_nobody_else_can_read_a_file(tmp_path: Path) -> None:
    """A private file that stays is the purger's; an image in the public folder is not."""
    store, post_id = FileImageStore(Layout(tmp_path)), new_id()
    place = f"{post_id[-2:]}/{post_id}"
    names = (f"uploads/{place}", f"originals/{place}", f"renditions/{place}.600.jpg")

    def fill(folder: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            if name.startswith(folder):
                (tmp_path / name).mkdir()  # no file: unlink(2) refuses it
            else:
                (tmp_path / name).write_bytes(b"x")

    for private in ("uploads", "originals"):
        fill(private)
        with pytest.raises(FilesRemainError):
            await store.remove(post_id)
        assert [name for name in names if (tmp_path / name).exists()] == [
            name for name in names if name.startswith(private)
        ]
        (tmp_path / private / place).rmdir()
    (tmp_path / "quarantine").rmdir()
    fill("nothing")
    with pytest.raises(FilesRemainError, match="quarantine"):
        await store.remove(post_id)
    assert not any((tmp_path / name).exists() for name in names)
    (tmp_path / "quarantine").mkdir()
    fill("renditions")
    with pytest.raises(OSError, match=f"{place}.600.jpg") as refused:
        await store.remove(post_id)
    assert not isinstance(refused.value, FilesRemainError)
    assert [name for name in names if (tmp_path / name).exists()] == [names[-1]]


async def test_an_operation_that_breaks_costs_the_others_of_its_transaction_nothing(
    tmp_path: Path,
) -> None:
    """As reading a damaged row does: only that caller is told."""
    database = Database(tmp_path / "image_poster.db")

    def put(number: int) -> int:
        return number

    writes = [database.write(lambda _, number=number: put(number)) for number in range(20)]  # type: ignore[misc]
    writes.insert(10, database.write(lambda _: int("head")))
    answers = await asyncio.gather(*writes, return_exceptions=True)
    await database.close()
    assert isinstance(answers.pop(10), ValueError)
    assert answers == [*range(20)]


def test_parked_work_is_replayed_beside_a_row_that_cannot_be_read(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    create_database(settings.data_dir, print)

    async def park() -> list[str]:
        async with open_container(settings) as container:
            posts = [a_post() for _ in range(2)]
            for post in posts:
                await container.services.stores.posts.add(post)
                job = await container.jobs.lease(1000)
                assert job is not None
                await container.jobs.park(job, error="lost")
            damaged = min(post.id for post in posts)
            await container.database.write(
                lambda connection: connection.execute(
                    "UPDATE posts SET head = '{' WHERE id = ?", (damaged,)
                )
            )
            return sorted(post.id for post in posts)

    damaged, whole = asyncio.run(park())
    due, failures = replay(settings)
    assert due == [whole]
    assert [failure.post_id for failure in failures] == [damaged]
