"""The image Lambda is safe under redelivery and in any order, whatever ends it in between."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.ports.suite import ALICE, a_comment, a_post, an_upload
from fakes.clock import ManualClock
from fakes.images import MemoryImageStore
from image_poster.adapters.dynamodb.accounts import DynamoAccountStore
from image_poster.adapters.dynamodb.checks import DynamoFailureCounter
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.database import Item
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.schema import post_key
from image_poster.domain.errors import BusyError, ImageNotFoundError
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError
from image_poster.domain.posts import PROCESSING_FAILED, Post, PostStatus
from image_poster.editions.aws.image_work import StoredImagePublisher, replay_image_work
from image_poster.services.images import ImagePublisher
from support.dynamodb import CrashError, FakeTable
from support.examples import examples
from support.renderer import FakeRenderer

EXAMPLES = settings(max_examples=max(200, examples()), deadline=None)
ATTEMPTS = 3  # MaximumRetryAttempts in the template, and the first


class World:
    """Posts on AWS, a storage that tells of images, and the image Lambda."""

    def __init__(self, seed: int = 0, crashes: float = 0.0) -> None:
        self.random, self.crashes = random.Random(seed), crashes
        self.table, clock = FakeTable(), ManualClock()
        self.posts = DynamoPostStore(self.table, clock)
        self.comments = DynamoCommentStore(self.table, clock)
        self.counter = DynamoCommentCounter(self.table, clock)
        self.images, self.renderer = MemoryImageStore(clock), FakeRenderer()
        publisher = ImagePublisher(self.posts, self.images, self.renderer)
        failures = DynamoFailureCounter(self.table)
        accounts = DynamoAccountStore(self.table, clock, self.comments)
        self.publisher = StoredImagePublisher(
            self.posts, self.images, publisher, failures, accounts.standing, clock
        )
        self.failures = failures
        self.dead: list[str] = []

    async def replay(self, post_id: str) -> bool:
        return await replay_image_work(post_id, self.posts, self.failures, self.start)

    async def start(self, post_id: str) -> None:
        """A new object: the storage tells the Lambda of it, which retries and then parks."""
        for _ in range(ATTEMPTS):
            self.table.around = self._maybe_crash
            try:
                await self.publisher.publish(post_id)
            except (ImageWorkFailedError, BusyError, CrashError):
                continue
            finally:
                self.table.around = lambda: None
            return
        self.dead.append(post_id)

    def _maybe_crash(self) -> None:
        if self.random.random() < self.crashes:
            raise CrashError

    async def put(self) -> str:
        """A reserved post whose image came by a signed PUT; nobody was told of it yet."""
        post, upload = an_upload()
        await self.posts.add(post, None, upload)
        self.images.keep(post.id, "original", b"bytes")
        return post.id

    async def now(self, post_id: str) -> Post:
        stored = await self.posts.find(post_id)
        assert stored is not None
        return stored.post

    def has_files(self, post_id: str) -> bool:
        return any(owner == post_id for owner, _ in self.images._files)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_a_redelivered_s3_event_never_resets_the_count() -> None:
    """A defect of the prototype: it wrote the post anew, with no comments, on each event."""

    async def story() -> None:
        world = World()
        post_id = await world.put()
        await world.start(post_id)
        comment = a_comment(post_id)
        await world.comments.add(comment)
        await world.counter.count(post_id, [comment.id])
        for _ in range(3):
            await world.start(post_id)
        item = world.table.items[post_key(post_id)]
        assert (item["total"], item["status"]) == (1, "ready")
        assert world.renderer.rendered == 1

    run(story)


def test_a_late_event_never_revives_a_deleted_post() -> None:
    async def story() -> None:
        world = World()
        post_id = await world.put()
        await world.posts.remove(post_id, ALICE)
        await world.start(post_id)
        assert await world.posts.find(post_id) is None
        assert not world.has_files(post_id)  # nor leaves what came after the deletion

    run(story)


def test_an_event_of_a_post_that_the_table_does_not_know_deletes_nothing() -> None:
    """As after the table was restored to an earlier moment."""

    async def story() -> None:
        world = World()
        post_id = await world.put()
        del world.table.items[post_key(post_id)]
        await world.start(post_id)
        assert world.has_files(post_id)
        assert world.dead == []

    run(story)


def test_a_post_deleted_in_the_middle_of_its_image_work_leaves_no_file() -> None:
    async def story() -> None:
        world = World()
        post_id = await world.put()
        gone: Item = {"status": "deleted", "version": 9, "head": "", "deleted_by": "alice"}
        world.renderer.before_answer = lambda: world.table.items[post_key(post_id)].update(gone)
        await world.start(post_id)
        assert not world.has_files(post_id)
        assert world.dead == []

    run(story)


def test_a_swallowed_decode_error_is_a_reason_now() -> None:
    """A defect of the prototype: an image that could not be decoded was a post without one."""

    async def story() -> None:
        world = World()
        post_id = await world.put()
        world.renderer.troubles = [ImageRejectedError("image_unreadable", "It is damaged.")]
        for _ in range(2):
            await world.start(post_id)
        post = await world.now(post_id)
        assert post.status is PostStatus.FAILED
        assert post.failure.code == "image_unreadable"  # type: ignore[union-attr]
        assert world.dead == []
        assert "feed" not in world.table.items[post_key(post_id)]

    run(story)


def test_our_fault_is_retried_then_parked_and_can_be_replayed() -> None:
    async def story() -> None:
        world = World()
        post_id = await world.put()
        world.renderer.troubles = [ImageWorkFailedError("no memory")] * ATTEMPTS
        await world.start(post_id)
        assert world.dead == [post_id]
        assert (await world.now(post_id)).failure == PROCESSING_FAILED
        assert "no memory" in str(world.table.items[post_key(post_id)]["error"])
        assert await world.replay(post_id)
        assert (await world.now(post_id)).status is PostStatus.READY
        assert "error" not in world.table.items[post_key(post_id)]
        await world.posts.remove(post_id, ALICE)
        assert not await world.replay(post_id)

    run(story)


def test_what_passes_by_itself_is_no_failure() -> None:
    async def story() -> None:
        world = World()
        post_id = await world.put()
        world.renderer.troubles = [ImageWorkFailedError("no memory")] * (ATTEMPTS - 1)
        await world.start(post_id)
        assert (await world.now(post_id)).status is PostStatus.READY
        assert world.dead == []

    run(story)


STEPS = st.lists(st.sampled_from(["event", "comment", "edit", "delete", "replay"]), max_size=10)


@EXAMPLES
@given(
    steps=STEPS,
    staged=st.booleans(),
    seed=st.integers(0, 10**6),
    crashes=st.sampled_from([0.0, 0.2]),
)
def test_in_any_order_and_however_often_it_ends_in_one_state(
    steps: list[str], seed: int, crashes: float, *, staged: bool
) -> None:
    """Ready with all its comments, or deleted with no file left; parked only by crashes."""

    async def story() -> None:
        world = World(seed, crashes)
        post_id = await world.put()
        if staged:
            await world.posts.update(
                post_id, lambda post: msgspec.structs.replace(post, status=PostStatus.PROCESSING)
            )
        comments = [await do(world, post_id, step) for step in steps]
        world.crashes = 0
        await world.start(post_id)  # an operator replays what was parked
        if "delete" in steps:
            assert await world.posts.find(post_id) is None
            assert not world.has_files(post_id)
            return
        if (await world.now(post_id)).failure == PROCESSING_FAILED:
            await world.replay(post_id)
        assert (await world.now(post_id)).status is PostStatus.READY
        await world.counter.count(post_id, [comment for comment in comments if comment])
        assert world.table.items[post_key(post_id)]["total"] == len(list(filter(None, comments)))

    run(story)


async def do(world: World, post_id: str, step: str) -> str | None:
    """One step of anyone; the id of a comment that was taken."""
    if step == "event":
        await world.start(post_id)
    elif step == "replay":
        await world.replay(post_id)
    elif step == "delete":
        await world.posts.remove(post_id, ALICE)
    elif step == "comment":
        comment = a_comment(post_id)
        with contextlib.suppress(Exception):  # not ready yet, or gone
            await world.comments.add(comment)
            return comment.id
    elif await world.posts.find(post_id) is not None:
        await world.posts.update(
            post_id, lambda post: msgspec.structs.replace(post, caption="edited")
        )
    return None


def test_a_post_that_never_had_a_image_is_our_fault_and_not_forgotten() -> None:
    async def story() -> None:
        world = World()
        post = a_post()
        await world.posts.add(post)
        await world.start(post.id)
        assert world.dead == [post.id]
        with pytest.raises(ImageNotFoundError):
            await world.images.open_original(post.id)

    run(story)
