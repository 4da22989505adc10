"""Use cases over the in-memory adapters: retries, parking, crashes between two steps."""

import asyncio
from dataclasses import dataclass

import pytest

from contract.ports.suite import ALICE, BOB, a_comment, a_post
from fakes.clock import ManualClock
from fakes.comments import MemoryCommentStore
from fakes.images import MemoryImageStore
from fakes.jobs import MemoryJobQueue
from fakes.posts import MemoryPostStore, MemoryTombstoneQueue
from fakes.state import MemoryState, Tombstone
from image_poster.domain.errors import (
    AccountDeletedError,
    BusyError,
    ImageNotFoundError,
    StorageFullError,
    ValidationFailedError,
)
from image_poster.domain.ids import new_id
from image_poster.domain.images import (
    RENDITIONS,
    ImageRejectedError,
    ImageWorkFailedError,
    RenderedImage,
)
from image_poster.domain.limits import Limits
from image_poster.domain.posts import PROCESSING_FAILED, PostStatus, PostTexts, published_post
from image_poster.editions.local.maintenance import Sweeper
from image_poster.ports.images import Workspace
from image_poster.services.images import ImagePublisher, JobResult, JobRunner
from image_poster.services.posts import PostDraft, PostPurger, PostService
from support.renderer import RENDERED, FakeRenderer
from support.services import services

pytestmark = pytest.mark.anyio

LEASE_MS = 1000
SEVEN_DAYS_MS = 7 * 24 * 3600 * 1000


@dataclass
class World:
    """A service in memory."""

    clock: ManualClock
    state: MemoryState
    posts: MemoryPostStore
    images: MemoryImageStore
    renderer: FakeRenderer
    runner: JobRunner
    sweeper: Sweeper
    jobs: MemoryJobQueue

    async def new_post(self) -> str:
        post = a_post()
        self.images.keep(post.id, "original", b"bytes")
        await self.posts.add(post)
        return post.id

    async def status(self, post_id: str) -> str:
        stored = await self.posts.find(post_id)
        assert stored is not None
        return stored.post.status


@pytest.fixture
def world() -> World:
    clock, state, renderer = ManualClock(), MemoryState(), FakeRenderer()
    posts, images = MemoryPostStore(state, clock), MemoryImageStore(clock)
    tombstones, jobs = MemoryTombstoneQueue(state), MemoryJobQueue(state, clock)
    return World(
        clock=clock,
        state=state,
        posts=posts,
        images=images,
        renderer=renderer,
        runner=JobRunner(
            jobs,
            ImagePublisher(posts, images, renderer, check_seconds=0.01),
            lease_ms=LEASE_MS,
        ),
        sweeper=Sweeper(posts, images, tombstones, PostPurger(tombstones, images), clock),
        jobs=jobs,
    )


async def outcome(world: World) -> tuple[str, str] | None:
    done = await world.runner.run_next()
    return done and (done.post_id, done.outcome)


async def test_a_post_becomes_ready(world: World) -> None:
    post_id = await world.new_post()
    assert await world.runner.run_next() == JobResult(post_id, "ready")
    assert await world.runner.run_next() is None
    assert await world.status(post_id) == PostStatus.READY


async def test_what_finds_no_room_waits_for_it_however_often(world: World) -> None:
    post_id = await world.new_post()
    world.renderer.troubles = [StorageFullError() for _ in range(30)]
    for _ in range(30):
        assert await outcome(world) == (post_id, "postponed")
        assert await world.runner.run_next() is None
        world.clock.advance(2000)
    assert await outcome(world) == (post_id, "ready")


async def test_a_rejected_image_fails_at_once_with_its_reason(world: World) -> None:
    post_id = await world.new_post()
    world.renderer.troubles = [ImageRejectedError("image_too_large", "too many pixels")]
    assert await world.runner.run_next() == JobResult(post_id, "failed")
    stored = await world.posts.find(post_id)
    assert stored is not None
    assert stored.post.failure.code == "image_too_large"  # type: ignore[union-attr]
    assert await world.jobs.parked() == []


async def test_our_fault_is_retried_later_each_time_then_parked_then_replayed(
    world: World,
) -> None:
    post_id = await world.new_post()
    world.renderer.troubles = [ImageWorkFailedError("boom")] * 2 + [BusyError()]
    assert await outcome(world) == (post_id, "retried")
    assert await world.runner.run_next() is None
    world.clock.advance(1000)
    assert await outcome(world) == (post_id, "retried")
    world.clock.advance(1999)
    assert await world.runner.run_next() is None
    world.clock.advance(1)
    assert await outcome(world) == (post_id, "parked")
    stored = await world.posts.find(post_id)
    assert stored is not None
    assert stored.post.failure == PROCESSING_FAILED
    (parked,) = await world.jobs.parked()
    assert parked.error.startswith("BusyError")
    await world.jobs.replay(post_id)
    assert await world.runner.run_next() == JobResult(post_id, "ready")


class PlugPulled(BaseException):
    """The process ends here, without a word."""


async def test_a_plug_pulled_again_and_again_is_no_fault_of_the_image(world: World) -> None:
    post_id = await world.new_post()
    world.renderer.troubles = [PlugPulled()] * 10
    for _ in range(10):
        with pytest.raises(PlugPulled):
            await world.runner.run_next()
        world.clock.advance(LEASE_MS)
    assert await outcome(world) == (post_id, "ready")


async def test_a_image_that_ends_the_process_each_time_is_parked_some_day(world: World) -> None:
    post_id = await world.new_post()
    world.renderer.troubles = [PlugPulled()] * 20
    for _ in range(20):
        with pytest.raises(PlugPulled):
            await world.runner.run_next()
        world.clock.advance(LEASE_MS)
    assert await outcome(world) == (post_id, "parked")


async def test_a_missing_original_is_our_fault(world: World) -> None:
    post_id = await world.new_post()
    await world.images.remove(post_id)
    assert await outcome(world) == (post_id, "retried")


async def test_a_post_deleted_during_its_image_work_leaves_no_file(world: World) -> None:
    post_id = await world.new_post()

    def delete() -> None:
        del world.state.posts[post_id]
        world.state.tombstones[post_id] = Tombstone("alice", 0, pending=False)

    world.renderer.before_answer = delete
    assert await world.runner.run_next() == JobResult(post_id, "deleted")
    for name in RENDITIONS:
        with pytest.raises(ImageNotFoundError):
            await world.images.open_rendition(post_id, name)


async def test_deleting_a_post_ends_its_image_work_however_long_that_takes(world: World) -> None:
    post_id = await world.new_post()
    ended = asyncio.Event()

    async def never_done() -> None:
        await world.posts.remove(post_id, ALICE)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    world.renderer.during = never_done
    async with asyncio.timeout(30):
        assert await world.runner.run_next() == JobResult(post_id, "deleted")
    assert ended.is_set()
    assert world.renderer.rendered == 0


async def test_image_work_that_takes_long_is_left_alone_while_its_post_is_there(
    world: World,
) -> None:
    post_id = await world.new_post()
    world.renderer.during = lambda: asyncio.sleep(0.1)
    assert await world.runner.run_next() == JobResult(post_id, "ready")


async def test_work_that_breaks_since_its_post_was_deleted_is_no_fault(world: World) -> None:
    post_id = await world.new_post()

    async def render(work: Workspace) -> RenderedImage:
        del work
        del world.state.posts[post_id]
        raise ImageWorkFailedError("the file is gone")

    world.renderer.render = render  # type: ignore[method-assign]
    assert await outcome(world) == (post_id, "deleted")


async def test_image_work_done_twice_is_done_once(world: World) -> None:
    post_id = await world.new_post()
    await world.runner.run_next()
    before = await world.posts.find(post_id)
    assert await world.runner.publisher.publish(post_id) == PostStatus.READY
    assert await world.posts.find(post_id) == before


async def test_a_deletion_is_finished_by_the_sweeper_wherever_it_broke_off(world: World) -> None:
    post_id = await world.new_post()
    await world.runner.run_next()
    comments = MemoryCommentStore(world.state, world.clock)
    for _ in range(1200):
        await comments.add(a_comment(post_id))
    await world.posts.remove(post_id, ALICE)  # and a crash before anything else
    world.clock.advance(1)
    assert (await world.sweeper.sweep(older_than_ms=world.clock.now_ms())).deleted == 1
    assert (world.state.comments, [post async for post in world.images.leftovers(2**62)]) == (
        {},
        [],
    )
    assert (await world.sweeper.sweep(older_than_ms=world.clock.now_ms())) == (0, 0, 0)


async def test_deleting_removes_the_images_before_it_answers(world: World) -> None:
    post_id = await world.new_post()
    await services(posts=world.posts, images=world.images).posts.delete(post_id, ALICE)
    with pytest.raises(ImageNotFoundError):
        await world.images.open_original(post_id)


async def test_unknown_files_go_to_quarantine_and_young_ones_are_left(world: World) -> None:
    unknown = new_id()
    world.images.keep(unknown, "original", b"a crash came before the row")
    world.clock.advance(10)
    started = world.clock.now_ms()
    world.images.keep(new_id(), "original", b"its row comes in a moment")
    post_id = await world.new_post()
    assert await world.sweeper.sweep(older_than_ms=started) == (0, 1, 0)
    assert await world.sweeper.sweep(older_than_ms=started) == (0, 0, 0)
    assert await in_quarantine(world) == [unknown]
    await world.images.open_original(post_id)


async def in_quarantine(world: World) -> list[str]:
    return [post_id async for post_id in world.images.quarantined(2**62)]


async def test_quarantine_ends_seven_days_after_the_move_however_old_the_file(world: World) -> None:
    unknown = new_id()
    world.images.keep(unknown, "original", b"bytes")
    world.clock.advance(10 * SEVEN_DAYS_MS)
    moved = world.clock.now_ms()
    await world.sweeper.sweep(older_than_ms=moved)
    world.clock.advance(SEVEN_DAYS_MS)
    assert await world.sweeper.sweep(older_than_ms=moved) == (0, 0, 0)
    assert await in_quarantine(world) == [unknown]
    world.clock.advance(1)
    assert await world.sweeper.sweep(older_than_ms=moved) == (0, 0, 1)
    assert await in_quarantine(world) == []


YEAR_MS = 365 * 24 * 3600 * 1000


@pytest.mark.parametrize("by_ms", [YEAR_MS, -YEAR_MS])
async def test_a_clock_that_is_set_deletes_nothing_in_quarantine(world: World, by_ms: int) -> None:
    unknown = new_id()
    world.images.keep(unknown, "original", b"bytes")
    world.clock.advance(1)
    await world.sweeper.sweep(older_than_ms=world.clock.now_ms())
    world.clock.set_wall(world.clock.now_ms() + by_ms)
    assert await world.sweeper.sweep(older_than_ms=0) == (0, 0, 0)
    assert await in_quarantine(world) == [unknown]


async def test_a_start_by_a_clock_that_was_ahead_deletes_nothing_in_quarantine_once_it_is_right(
    world: World,
) -> None:
    unknown = new_id()
    world.images.keep(unknown, "original", b"bytes")
    world.clock.advance(1)
    await world.sweeper.sweep(older_than_ms=world.clock.now_ms())
    world.clock.raise_to(world.clock.now_ms() + YEAR_MS)
    assert await world.sweeper.sweep(older_than_ms=0) == (0, 0, 0)
    assert await in_quarantine(world) == [unknown]


async def test_files_that_were_moved_by_a_clock_that_was_ahead_are_put_back(world: World) -> None:
    post_id = await world.new_post()
    record = world.state.posts.pop(post_id)
    right_ms = world.clock.now_ms()
    world.clock.advance(YEAR_MS)
    await world.sweeper.sweep(older_than_ms=world.clock.now_ms())
    assert await in_quarantine(world) == [post_id]
    world.state.posts[post_id] = record
    world.clock.set_wall(right_ms)
    assert await world.sweeper.put_back() == 1


async def test_what_a_post_asks_for_is_never_deleted_in_quarantine(world: World) -> None:
    """The right database has come back, and its files were not put back yet."""
    post_id = await world.new_post()
    record = world.state.posts.pop(post_id)
    world.clock.advance(1)
    await world.sweeper.sweep(older_than_ms=world.clock.now_ms())
    world.state.posts[post_id] = record
    world.clock.advance(SEVEN_DAYS_MS + 1)
    assert (await world.sweeper.sweep(older_than_ms=0)).purged == 0
    assert await in_quarantine(world) == [post_id]
    world.images.keep(post_id, "original", b"put back from a copy")
    assert (await world.sweeper.sweep(older_than_ms=0)).purged == 1


async def test_files_that_came_after_a_deletion_was_finished_are_deleted(world: World) -> None:
    post_id = await world.new_post()
    await world.posts.remove(post_id, ALICE)
    await world.sweeper.sweep(older_than_ms=0)
    world.images.keep(post_id, "600", b"image work ended late")
    world.clock.advance(1)
    assert await world.sweeper.sweep(older_than_ms=world.clock.now_ms()) == (0, 0, 0)
    with pytest.raises(ImageNotFoundError):
        await world.images.open_rendition(post_id, "600")
    assert await in_quarantine(world) == []


async def test_work_on_a_post_that_the_database_lost_deletes_nothing(world: World) -> None:
    """Its row is gone and no deletion is known: the file of the database was replaced."""
    post_id = await world.new_post()
    world.renderer.before_answer = world.state.posts.clear
    assert await world.runner.run_next() == JobResult(post_id, "deleted")
    await world.images.open_original(post_id)


def over(world: World, posts: MemoryPostStore, limits: Limits | None = None) -> PostService:
    return services(world.state, world.clock, posts=posts, images=world.images, limits=limits).posts


def creating(world: World, trouble: Exception) -> PostService:
    class BrokenPostStore(MemoryPostStore):
        async def add(self, *_: object, **__: object) -> None:
            raise trouble

    return over(world, BrokenPostStore(world.state, world.clock))


async def test_a_post_whose_row_cannot_be_written_leaves_no_file(world: World) -> None:
    post_id = new_id()
    staged = world.images.stage(post_id)
    await staged.write(b"bytes")
    with pytest.raises(StorageFullError):
        posts = creating(world, StorageFullError())
        await posts.create(post_id, ALICE, PostDraft(PostTexts(), b""), staged)
    with pytest.raises(ImageNotFoundError):
        await world.images.open_original(post_id)


async def test_a_post_whose_row_may_have_been_written_keeps_its_file(world: World) -> None:
    """On AWS, busy is also said when an answer was lost on its way."""
    post_id = new_id()
    staged = world.images.stage(post_id)
    await staged.write(b"bytes")
    with pytest.raises(BusyError):
        posts = creating(world, BusyError())
        await posts.create(post_id, ALICE, PostDraft(PostTexts(), b""), staged)
    await world.images.open_original(post_id)


async def test_a_wrong_caption_stops_a_post_before_its_image_is_kept(world: World) -> None:
    posts = over(world, world.posts, Limits(caption_characters=3))
    post_id = new_id()
    staged = world.images.stage(post_id)
    await staged.write(b"bytes")
    with pytest.raises(ValidationFailedError):
        await posts.create(post_id, ALICE, PostDraft(PostTexts("long"), b""), staged)
    with pytest.raises(ImageNotFoundError):
        await world.images.open_original(post_id)


async def test_a_replay_by_an_author_who_may_not_write_any_more_is_refused() -> None:
    container = services()
    post = a_post()
    await container.stores.posts.add(post)
    await container.stores.posts.update(post.id, lambda former: published_post(former, RENDERED))
    first = await container.comments.add(post.id, BOB, "hello", "key")
    assert (await container.comments.add(post.id, BOB, "hello", "key")).body == first.body
    await container.stores.accounts.begin_deletion(BOB.user)
    for key in ("key", "other", None):
        with pytest.raises(AccountDeletedError):
            await container.comments.add(post.id, BOB, "hello", key)
