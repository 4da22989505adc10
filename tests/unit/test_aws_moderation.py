"""Consequences of decisions on AWS: renditions and their copies, failed posts, images of banned
users, and the operator's lists. The real stores work over AWS in memory."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from contract.ports.suite import ALICE, a_comment, a_post, an_upload
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.accounts import DynamoAccountStore, DynamoReportStore
from image_poster.adapters.dynamodb.checks import DynamoFailureCounter, DynamoScheduledChecks
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.entries import entry_key, owned_key
from image_poster.adapters.dynamodb.feed import DynamoFeedReader, DynamoFeedRebuilder
from image_poster.adapters.dynamodb.moderation import DynamoDecisionStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.schema import account_key, comment_key, post_key
from image_poster.adapters.dynamodb.standing import beginning, block_key
from image_poster.adapters.dynamodb.stream import decoded_records
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore
from image_poster.adapters.s3.images import S3ImageStore
from image_poster.adapters.s3.schema import Buckets, S3List
from image_poster.adapters.s3.uploads import S3UploadStore
from image_poster.domain.accounts import MAX_NAME_CHARACTERS
from image_poster.domain.block_lists import BlockedWords
from image_poster.domain.errors import BusyError
from image_poster.domain.feed import FeedQuery, FeedSort, epoch_of
from image_poster.domain.identity import Identity
from image_poster.domain.images import RENDITIONS
from image_poster.domain.moderation import Action, Decision, EntryKind, Reason, Report, Subject
from image_poster.domain.posts import (
    IMAGE_BLOCKED,
    Failure,
    PostStatus,
    failed_post,
    published_post,
    rejected_post,
)
from image_poster.editions.aws.events import ChangeApplier
from image_poster.editions.aws.image_work import (
    PublishedCopies,
    RenditionPlaces,
    StoredImagePublisher,
)
from image_poster.editions.aws.reconciliation import Reconciler
from image_poster.services.images import ImagePublisher
from image_poster.services.posts import PostPurger
from support.dynamodb import FakeTable
from support.filters import passes
from support.renderer import RENDERED, FakeRenderer
from support.s3 import FakeS3

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
NOW = "2026-01-01T00:00:00.000Z"
pytestmark = pytest.mark.anyio


class World:
    """Posts with renditions, decisions about them, the stream, and the reconciliation."""

    def __init__(self) -> None:
        self.table, self.s3, self.clock = FakeTable(), FakeS3(), ManualClock()
        self.references: list[str] = []
        self.cdn_is_busy = False
        self.comments = DynamoCommentStore(self.table, self.clock)
        self.posts = DynamoPostStore(self.table, self.clock)
        self.decisions = DynamoDecisionStore(self.table, self.clock, self.posts, self.comments)
        self.accounts = DynamoAccountStore(self.table, self.clock, self.comments)
        self.images = S3ImageStore(self.s3, Buckets("uploads", "images"), now=lambda: self.s3.now)
        copies = PublishedCopies(self.posts, self._invalidate)
        self.places = RenditionPlaces(self.posts, self.images, copies.forget)
        self.counter = DynamoCommentCounter(self.table, self.clock)
        self.checks = DynamoScheduledChecks(self.table, self.clock)
        self.purger = PostPurger(self.posts, self.images, copies.forget)
        offsets = DynamoUploadRecordStore(self.table)
        self.failures = DynamoFailureCounter(self.table)
        self.reconciler = Reconciler(
            checks=self.checks,
            posts=self.posts,
            images=self.images,
            records=offsets,
            uploads=S3UploadStore(self.s3, "uploads", offsets, piece_bytes=100),
            failures=self.failures,
            purger=self.purger,
            places=self.places,
            clock=self.clock,
            failed_days=7,
        )
        self.seen = 0

    async def _invalidate(self, _post_id: str, reference: str) -> None:
        if self.cdn_is_busy:
            raise BusyError
        self.references.append(reference)

    async def ready(self) -> str:
        post = a_post()
        await self.posts.add(post)
        await self.posts.update(post.id, lambda current: published_post(current, RENDERED))
        for name in RENDITIONS:
            self.s3.keep(f"images/{post.id}/{name}.jpg", b"image")
        return post.id

    async def decide(self, action: Action, subject: Subject) -> None:
        """Store a decision. Only the service moves renditions at once."""
        id_ = self.clock.new_id()
        await self.decisions.decide(Decision(id_, "root", action, *subject, "spam", "", None, NOW))

    async def apply_stream(self) -> None:
        """Apply each record that passes the filters once."""
        applier = ChangeApplier(
            self.counter, self.images.start_work, self.purger, self.checks, self.places.withdraw
        )
        while self.seen < len(self.table.stream):
            records, self.seen = self.table.stream[self.seen :], len(self.table.stream)
            assert await applier.apply(decoded_records(filter(passes, records))) == []

    async def reconcile(self) -> list[str]:
        """The actions of one round."""
        repairs = [repair async for repair in self.reconciler.run()]
        assert [repair.error for repair in repairs if repair.error] == []
        return [repair.action for repair in repairs]

    def later(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)
        self.s3.now += timedelta(milliseconds=milliseconds)

    def public(self, post_id: str) -> int:
        """The number of the post's public renditions."""
        return sum(key.startswith(f"images/{post_id}/") for key in self.s3.objects)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world() -> World:
    return World()


async def test_the_copies_of_a_hidden_post_are_invalidated_each_time_that_it_is_hidden(
    world: World,
) -> None:
    """CloudFront ignores a request with a reference that it knows."""
    post_id = await world.ready()
    for number in (1, 2):
        await world.decide(Action.HIDE, Subject(post_id))
        await world.apply_stream()
        assert world.public(post_id) == 0
        assert len(set(world.references)) == number
        world.later(1000)
        await world.decide(Action.RESTORE, Subject(post_id))
        await world.places.expose(post_id)
        assert world.public(post_id) == len(RENDITIONS)
    before = len(world.references)
    await world.apply_stream()
    assert len(world.references) == before


async def test_a_late_record_of_a_hidden_post_leaves_the_restored_one_public(world: World) -> None:
    post_id = await world.ready()
    await world.decide(Action.HIDE, Subject(post_id))
    await world.decide(Action.RESTORE, Subject(post_id))
    await world.apply_stream()
    assert world.public(post_id) == len(RENDITIONS)


async def test_a_failed_invalidation_is_repeated_by_the_reconciliation(world: World) -> None:
    post_id = await world.ready()
    await world.decide(Action.HIDE, Subject(post_id))
    world.cdn_is_busy = True
    await world.apply_stream()
    assert world.references == []
    world.cdn_is_busy = False
    world.later(1)
    await world.reconcile()
    assert len(world.references) == 1


@pytest.mark.parametrize("action", [Action.RESTORE, Action.HIDE])
async def test_renditions_that_a_crash_left_in_the_wrong_place_are_moved(
    world: World, action: Action
) -> None:
    """It came between the move and the row, or the other way round."""
    post_id = await world.ready()
    await world.decide(Action.HIDE, Subject(post_id))
    if action is Action.RESTORE:
        await world.images.withhold(post_id)
        await world.decide(Action.RESTORE, Subject(post_id))
    world.later(6 * MINUTE_MS)
    await world.reconcile()
    assert world.public(post_id) == (len(RENDITIONS) if action is Action.RESTORE else 0)
    writes = world.table.calls["write"]
    world.later(DAY_MS)
    await world.reconcile()
    assert world.table.calls["write"] == writes  # each is checked once


async def test_a_failed_post_is_deleted_after_its_days_and_not_before(world: World) -> None:
    blocked, broken = a_post(), a_post()
    for post in (blocked, broken):
        await world.posts.add(post)
    await world.posts.update(blocked.id, lambda post: rejected_post(post, RENDERED, IMAGE_BLOCKED))
    failure = Failure("image_unreadable", "broken")
    await world.posts.update(broken.id, lambda post: failed_post(post, failure))
    world.later(6 * DAY_MS)
    assert await world.reconcile() == []
    world.later(DAY_MS + 1)
    assert await world.reconcile() == ["deleted: it had failed long ago"] * 2
    assert await world.posts.find(blocked.id) is None


async def test_a_failed_post_that_is_published_stays(world: World) -> None:
    post = a_post()
    await world.posts.add(post)
    await world.posts.update(post.id, lambda now: rejected_post(now, RENDERED, IMAGE_BLOCKED))
    await world.decide(Action.PUBLISH, Subject(post.id))
    world.later(40 * DAY_MS)
    assert await world.reconcile() == []
    assert await world.posts.is_ready(post.id)


async def test_posts_and_comments_of_an_earlier_version_are_completed_by_the_walk(
    world: World,
) -> None:
    """Comments had no author's index, and failed posts no end."""
    post_id, failed = await world.ready(), a_post()
    comment = a_comment(post_id, "bob")
    await world.comments.add(comment)
    await world.posts.add(failed)
    await world.posts.update(failed.id, lambda post: failed_post(post, IMAGE_BLOCKED))
    for name in ("author", "id"):
        del world.table.items[comment_key(post_id, comment.id)][name]
    for name in ("due", "due_at"):
        del world.table.items[post_key(failed.id)][name]
    rebuilder = DynamoFeedRebuilder(world.table, world.counter)
    await rebuilder.rebuild(None, 1000)
    page = await world.accounts.comments_of("bob", limit=10, after=None)
    assert [msgspec.json.decode(document)["id"] for document in page.items] == [comment.id]
    world.later(8 * DAY_MS)
    assert await world.reconcile() == ["deleted: it had failed long ago"]


@pytest.mark.parametrize("action", [Action.BAN, Action.DELETE])
async def test_an_image_at_a_url_that_was_signed_before_the_ban_is_discarded(
    world: World, action: Action
) -> None:
    post, upload = an_upload()
    await world.posts.add(post, None, upload)
    world.s3.keep(f"incoming/{post.id}", b"image")
    if action is Action.BAN:
        await world.decide(Action.BAN, Subject(user=post.creator))
    else:
        await world.accounts.begin_deletion(post.creator)
    publisher = ImagePublisher(world.posts, world.images, FakeRenderer())
    work = StoredImagePublisher(
        world.posts, world.images, publisher, world.failures, world.accounts.standing, world.clock
    )
    assert await work.publish(post.id) is PostStatus.AWAITING_UPLOAD
    assert world.s3.objects == {}


async def test_a_walk_shows_a_post_whose_count_changed_while_it_was_hidden(world: World) -> None:
    feed, clock = DynamoFeedReader(world.table), world.clock
    shown, restored = await world.ready(), await world.ready()
    comments = [a_comment(post_id) for post_id in (shown, shown, restored)]
    for comment in comments:
        await world.comments.add(comment)
    await world.apply_stream()
    clock.advance(MINUTE_MS)
    query = FeedQuery(sort=FeedSort.TOP, limit=1, epoch=epoch_of(clock.service_ms()))
    first = await feed.page(query)
    clock.advance(MINUTE_MS)
    await world.decide(Action.HIDE, Subject(restored))
    await world.comments.remove(restored, comments[-1].id, Identity("root", admin=True))
    await world.apply_stream()
    clock.advance(MINUTE_MS)
    await world.decide(Action.RESTORE, Subject(restored))
    rest = await feed.page(msgspec.structs.replace(query, after=first.next))
    assert [post.id for post in (*first.items, *rest.items)] == [shown, restored]
    assert rest.items[0].total_comments == 0


async def test_of_equal_decisions_at_once_one_is_stored_and_the_others_repeat_it(
    world: World,
) -> None:
    subject = Subject(await world.ready())
    decisions = [
        Decision(world.clock.new_id(), by, Action.HIDE, *subject, "spam", "", None, NOW)
        for by in ("ada", "ben", "cem", "dan")
    ]
    verdicts = await asyncio.gather(*map(world.decisions.decide, decisions))
    assert sum(verdict.is_new for verdict in verdicts) == 1
    assert len({verdict.decision.id for verdict in verdicts}) == 1
    log = await world.decisions.log(limit=10, after=None)
    assert [decision.id for decision in log.items] == [verdicts[0].decision.id]
    assert world.table.conflicts > 0


async def test_reports_of_many_at_once_are_counted_in_one_entry(world: World) -> None:
    post_id, reports = await world.ready(), DynamoReportStore(world.table, world.clock)
    await asyncio.gather(
        *(
            reports.add(
                Report(world.clock.new_id(), f"user {n}", post_id, None, Reason.SPAM, "", NOW)
            )
            for n in range(6)
        )
    )
    (entry,) = (await world.decisions.queue(limit=10, after=None)).items
    assert (entry.reports, entry.reasons, len(entry.latest)) == (6, {"spam": 6}, 5)
    await world.decide(Action.DISMISS, Subject(post_id))
    for n in range(6):
        page = await reports.page(f"user {n}", limit=1, after=None)
        assert [report.outcome for report in page.items] == ["dismissed"]


async def test_a_purge_closes_the_entries_that_a_crash_left_open(world: World) -> None:
    """It came right after the post was marked as deleted."""
    post_id, reports = await world.ready(), DynamoReportStore(world.table, world.clock)
    comment = a_comment(post_id)
    await world.comments.add(comment)
    for id_ in (None, comment.id):
        report = Report(world.clock.new_id(), "carol", post_id, id_, Reason.SPAM, "", NOW)
        await reports.add(report)
    await world.table.write(world.posts.removing(post_id, ALICE))
    assert len((await world.decisions.queue(limit=10, after=None)).items) == 2
    await world.apply_stream()
    assert (await world.decisions.queue(limit=10, after=None)).items == []
    page = await reports.page("carol", limit=10, after=None)
    assert [report.outcome for report in page.items] == ["deleted", "deleted"]


def test_the_longest_name_fits_into_every_key() -> None:
    """ServiceQuotas: a partition key has 2,048 bytes at most, a sort key 1,024."""
    name = "\U0001f300" * MAX_NAME_CHARACTERS
    subject = Subject(user=name)
    for key in (
        block_key(name, name),
        account_key(name),
        entry_key(subject, EntryKind.APPEAL),
        owned_key(name, "0" * 26),
    ):
        assert len(key.pk.encode()) <= 2048
        assert len(key.sk.encode()) <= 1024
    assert len(str(beginning(name, 0).put["due_at"]).encode()) <= 1024


def words_of(world: World, key: str = "lists/words.txt") -> S3List[BlockedWords]:
    place = {"Bucket": "uploads", "Key": key}
    return S3List(world.s3, place, BlockedWords.parse, world.clock)


async def test_a_list_is_read_again_each_minute_if_it_has_changed(world: World) -> None:
    world.s3.keep("lists/words.txt", b"# words\nrude\n")
    words = words_of(world)
    assert words.current().matches("a rude text")
    world.s3.keep("lists/words.txt", b"other\n")
    assert words.current().matches("a rude text")
    world.later(MINUTE_MS)
    assert not words.current().matches("a rude text")
    parsed = words.current()
    world.later(MINUTE_MS)
    assert words.current() is parsed  # S3 says that it is the same


async def test_a_wrong_list_leaves_the_former_one_in_force(world: World) -> None:
    world.s3.keep("lists/words.txt", b"rude\n")
    words = words_of(world)
    assert words.current().matches("rude")
    wrong: Any
    for wrong in (b"\xff\xfe", b"x" * 300):
        world.s3.keep("lists/words.txt", wrong)
        world.later(MINUTE_MS)
        assert words.current().matches("rude")


async def test_a_list_that_was_never_there_refuses_all_texts_until_it_is(world: World) -> None:
    """A key that is wrong would otherwise switch the list off, and nobody would see it."""
    words = words_of(world)
    for _ in range(2):
        with pytest.raises(BusyError):
            words.current()
    world.s3.keep("lists/words.txt", b"rude\n")
    assert words.current().matches("rude")


async def test_without_a_key_there_is_no_list_and_no_request(world: World) -> None:
    world.s3.get_object = None  # type: ignore[assignment,method-assign]
    assert not words_of(world, "").current().matches("rude")
