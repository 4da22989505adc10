"""Work that lost events left undone is detected and done, by the real stores over AWS in memory."""

from datetime import timedelta

import pytest

from contract.ports.suite import ALICE, a_comment, a_post, an_upload
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.accounts import DynamoAccountStore
from image_poster.adapters.dynamodb.checks import (
    DynamoFailureCounter,
    DynamoReconciliationCursorStore,
    DynamoScheduledChecks,
)
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.database import Key
from image_poster.adapters.dynamodb.feed import DynamoFeedRebuilder
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.schema import post_key
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore
from image_poster.adapters.s3.images import S3ImageStore
from image_poster.adapters.s3.schema import Buckets
from image_poster.adapters.s3.uploads import S3UploadStore
from image_poster.domain.errors import BusyError
from image_poster.domain.limits import Limits
from image_poster.domain.posts import PROCESSING_FAILED, Post, PostStatus, published_post
from image_poster.domain.uploads import Upload
from image_poster.editions.aws.image_work import (
    PublishedCopies,
    RenditionPlaces,
    StoredImagePublisher,
)
from image_poster.editions.aws.reconciliation import (
    AccountDeletions,
    Reconciler,
    Reconciliation,
    Repair,
)
from image_poster.services.accounts import AccountEraser
from image_poster.services.images import ImagePublisher
from image_poster.services.posts import NULL_NOTIFIER, PostPurger, PostService
from support.dynamodb import FakeTable
from support.renderer import RENDERED, FakeRenderer
from support.s3 import FakeS3

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
BUCKETS = Buckets("uploads", "images")


class Cdn:
    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.references: set[str] = set()
        self.is_busy = False

    async def forget(self, post_id: str, reference: str) -> None:
        if self.is_busy:
            raise BusyError
        self.references.add(reference)
        self.forgotten.append(post_id)


class World:
    """The AWS edition's stores, whose events get lost."""

    def __init__(self) -> None:
        self.table, self.s3, self.clock, self.cdn = FakeTable(), FakeS3(), ManualClock(), Cdn()
        self.posts = DynamoPostStore(self.table, self.clock)
        self.comments = DynamoCommentStore(self.table, self.clock)
        counter = DynamoCommentCounter(self.table, self.clock)
        offsets = DynamoUploadRecordStore(self.table)
        self.uploads = S3UploadStore(self.s3, "uploads", offsets, piece_bytes=100)
        self.images = S3ImageStore(self.s3, BUCKETS, now=lambda: self.s3.now)
        failures = DynamoFailureCounter(self.table)
        copies = PublishedCopies(self.posts, self.cdn.forget)
        self.reconciler = Reconciler(
            checks=DynamoScheduledChecks(self.table, self.clock),
            posts=self.posts,
            images=self.images,
            records=DynamoUploadRecordStore(self.table),
            uploads=self.uploads,
            failures=failures,
            purger=PostPurger(self.posts, self.images, copies.forget),
            places=RenditionPlaces(self.posts, self.images, copies.forget),
            clock=self.clock,
        )
        self.accounts = DynamoAccountStore(self.table, self.clock, self.comments)
        posts = PostService(
            self.posts, self.images, self.clock, Limits(), lambda _: b"", NULL_NOTIFIER, 0
        )
        self.deletions = AccountDeletions(self.accounts, AccountEraser(self.accounts, posts))
        rebuilder = DynamoFeedRebuilder(self.table, counter)
        cursors = DynamoReconciliationCursorStore(self.table)
        self.healing = Reconciliation(
            self.reconciler,
            rebuilder,
            self.posts,
            self.images,
            cursors,
            self.clock,
            self.deletions,
            batch=2,
        )
        publisher = ImagePublisher(self.posts, self.images, FakeRenderer())
        self.lambda_ = StoredImagePublisher(
            self.posts, self.images, publisher, failures, self.accounts.standing, self.clock
        )

    def later(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)
        self.s3.now += timedelta(milliseconds=milliseconds)

    async def heal(self) -> list[Repair]:
        return [repair async for repair in self.reconciler.run()]

    async def run(self, remaining_ms: int = 900_000) -> list[Repair]:
        return [repair async for repair in self.healing.run(remaining_ms)]

    async def now(self, post_id: str) -> Post:
        stored = await self.posts.find(post_id)
        assert stored is not None
        return stored.post

    async def ready(self) -> str:
        post = a_post()
        await self.posts.add(post)
        await self.posts.update(post.id, lambda current: published_post(current, RENDERED))
        return post.id

    async def awaiting(self, length: int = 5) -> str:
        post, _ = an_upload()
        upload = Upload(length, self.clock.now_ms() + DAY_MS)
        await self.posts.add(post, None, upload)
        return post.id


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


async def test_image_work_that_was_never_heard_of_is_begun_again(world: World) -> None:
    """The event was lost, or the Lambda was ended by its time or memory."""
    post = a_post()
    await world.posts.add(post)
    world.s3.keep(f"staging/{post.id}/000000000000", b"image")
    assert await world.heal() == []  # not within the hour in which the event may come
    world.later(HOUR_MS + 1)
    assert [repair.action for repair in await world.heal()] == ["started its image work again"]
    assert f"complete/{post.id}" in world.s3.objects  # which invokes the image Lambda
    assert await world.heal() == []  # that takes its time too
    await world.lambda_.publish(post.id)
    world.later(HOUR_MS + 1)
    assert await world.heal() == []
    assert (await world.now(post.id)).status is PostStatus.READY


async def test_a_post_whose_lambda_is_always_ended_fails_at_last(world: World) -> None:
    """Not before events cannot wait for a Lambda any more; its creator learns of it then."""
    post = a_post()
    await world.posts.add(post)
    said = []
    for _ in range(7):
        world.later(HOUR_MS + 1)
        said += [repair.action for repair in await world.heal()]
    assert said[:5] == ["started its image work again"] * 5
    assert said[5] == "set to failed: its image work did not finish"
    assert (await world.now(post.id)).failure == PROCESSING_FAILED
    assert len(said) == 6


async def test_an_image_that_was_put_and_of_which_nobody_was_told_is_found(world: World) -> None:
    post_id = await world.awaiting()
    world.s3.keep(f"incoming/{post_id}", b"image")
    world.later(HOUR_MS + 1)
    assert [repair.post_id for repair in await world.heal()] == [post_id]
    await world.lambda_.publish(post_id)
    assert (await world.now(post_id)).status is PostStatus.READY


async def test_an_upload_that_was_complete_but_for_its_completion_is_completed(
    world: World,
) -> None:
    """The API Lambda ended between its last piece and the post, and the client came no more."""
    post_id = await world.awaiting(5)
    await world.uploads.store_piece(post_id, 0, b"image")
    world.later(HOUR_MS + 1)
    assert "complete" in (await world.heal())[0].action
    assert (await world.now(post_id)).status is PostStatus.PROCESSING


async def test_an_upload_that_goes_on_is_looked_at_twice_in_its_life(world: World) -> None:
    post_id = await world.awaiting(5)
    looks = 0
    for _ in range(24):
        world.later(HOUR_MS)
        before = world.table.calls["write"]
        assert await world.heal() == []
        looks += world.table.calls["write"] - before
    assert (await world.now(post_id)).status is PostStatus.AWAITING_UPLOAD
    assert looks == 2


async def test_a_deletion_half_done_is_done_to_its_end(world: World) -> None:
    post_id = await world.ready()
    comment = a_comment(post_id)
    await world.comments.add(comment)
    for key in (f"originals/{post_id}", f"images/{post_id}/600.jpg"):
        world.s3.keep(key, b"image")
    await world.posts.remove(post_id, ALICE)
    world.later(HOUR_MS)
    world.cdn.is_busy = True
    (repair,) = await world.heal()
    assert isinstance(repair.error, BusyError)
    assert world.s3.objects == {}
    world.cdn.is_busy = False  # what failed is due still
    assert [repair.action for repair in await world.heal()] == ["completed its deletion"]
    assert world.cdn.forgotten == [post_id]
    assert await world.heal() == []
    assert {key.sk for key in world.table.items if post_id in key.pk} == {"POST"}


async def test_one_post_that_cannot_be_healed_holds_up_no_other(world: World) -> None:
    bad, good = await world.ready(), a_post()
    await world.posts.remove(bad, ALICE)
    await world.posts.add(good)
    world.cdn.is_busy = True
    world.later(HOUR_MS + 1)
    errors = {repair.post_id: repair.error for repair in await world.heal()}
    assert isinstance(errors[bad], BusyError)
    assert errors[good.id] is None


async def test_one_post_that_fails_holds_up_no_walk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one whose counts cannot be read, nor one whose original cannot be moved."""
    bad, good = sorted([await world.ready(), await world.ready()])
    for post_id in (bad, good):
        await world.comments.add(a_comment(post_id))
    for name in ("01BAD", "01GOOD"):
        world.s3.keep(f"originals/{name}", b"image")
    get, set_aside = world.table.get, world.images.quarantine_original

    async def get_most(key: Key, *args: object, **options: object) -> object:
        if key == post_key(bad):
            raise BusyError
        return await get(key, *args, **options)  # type: ignore[arg-type]

    async def set_most_aside(post_id: str) -> bool:
        if post_id == "01BAD":
            raise BusyError
        return await set_aside(post_id)

    monkeypatch.setattr(world.table, "get", get_most)
    monkeypatch.setattr(world.images, "quarantine_original", set_most_aside)
    world.later(3 * DAY_MS)
    failures = {repair.post_id: repair.error is not None for repair in await world.run()}
    assert (failures[bad], failures[good]) == (True, False)
    assert (failures["01BAD"], failures["01GOOD"]) == (True, False)
    state = await world.healing.cursors.read()
    assert (state.after, state.until_ms) == (None, 0)


async def test_once_a_day_counts_that_are_behind_are_found(world: World) -> None:
    """In steps, each kept, so that a Lambda whose time is over is followed by the next."""
    posts = [await world.ready() for _ in range(3)]
    for post_id in posts:
        await world.comments.add(a_comment(post_id))
    said = [repair.action for repair in await world.run()]
    assert said == ["corrected its count from 0 to 1"] * 3
    await world.comments.add(a_comment(posts[0]))
    assert await world.run() == []
    world.later(DAY_MS)
    assert [repair.action for repair in await world.run()] == ["corrected its count from 1 to 2"]


async def test_a_walk_goes_on_where_the_time_was_over(world: World) -> None:
    posts = [await world.ready() for _ in range(6)]
    for post_id in posts:
        await world.comments.add(a_comment(post_id))
    mended: list[Repair] = []
    rebuild = world.healing.feed.rebuild

    async def slow(after: str | None, limit: int) -> object:
        world.later(60_000)
        return await rebuild(after, limit)

    world.healing.feed.rebuild = slow  # type: ignore[method-assign,assignment]
    runs = 0
    while len(mended) < 6:
        mended += await world.run(remaining_ms=150_000)
        runs += 1
    assert {repair.post_id for repair in mended} == set(posts)
    assert runs > 2


async def test_one_walks_at_a_time(world: World) -> None:
    await world.comments.add(a_comment(await world.ready()))
    keeper = world.healing.cursors
    assert await keeper.reserve(await keeper.read(), world.clock.now_ms() + 900_000)
    assert await world.run() == []
    world.later(900_001)
    assert len(await world.run()) == 1


async def test_an_original_of_nobody_is_moved_aside_and_of_a_deleted_post_removed(
    world: World,
) -> None:
    """It came while its post expired. The database may be the wrong one, so it is kept for a
    while; and a young one may have a post on its way."""
    remaining, gone = await world.ready(), await world.ready()
    await world.posts.remove(gone, ALICE)
    for post_id in (remaining, gone, "01OLD"):
        world.s3.keep(f"originals/{post_id}", b"image")
    world.later(3 * DAY_MS)
    world.s3.keep("originals/01YOUNG", b"image")
    await world.run()
    assert {key for key in world.s3.objects if not key.startswith("images")} == {
        f"originals/{remaining}",
        "originals/01YOUNG",
        "quarantine/01OLD",
    }


# What was put again


async def test_a_put_that_is_repeated_after_ready_changes_nothing(world: World) -> None:
    post_id = await world.awaiting()
    world.s3.keep(f"incoming/{post_id}", b"image")
    await world.lambda_.publish(post_id)
    before, item = dict(world.s3.objects), dict(world.table.items[post_key(post_id)])
    world.s3.keep(f"incoming/{post_id}", b"other")  # S3 answers 200, and tells the Lambda
    await world.lambda_.publish(post_id)
    del before[f"incoming/{post_id}"]
    assert before.items() <= world.s3.objects.items()
    assert world.s3.objects[f"originals/{post_id}"].content == b"image"
    assert world.table.items[post_key(post_id)] == item


async def test_of_two_puts_at_once_the_original_is_the_one_that_is_shown(world: World) -> None:
    """Another Lambda takes the other put between our look and our copy: what it took stays."""
    post_id = await world.awaiting()
    world.s3.keep(f"incoming/{post_id}", b"mine")

    def another() -> None:
        world.s3.around = lambda: None
        world.s3.keep(f"originals/{post_id}", b"other")

    world.s3.around = another
    async with world.images.workspace(post_id) as work:
        assert work.original.read_bytes() == b"other"
    assert world.s3.objects[f"originals/{post_id}"].content == b"other"
