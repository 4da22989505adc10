"""One suite a port; each adapter's test file has a fixture and empty subclasses only.

`Adapters` is what a fixture gives: the ports of one back-end over one empty store.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from fakes.clock import ManualClock
from image_poster.domain.comments import Comment, decode_comment
from image_poster.domain.errors import (
    ChecksumMismatchError,
    CommentNotFoundError,
    ImageNotFoundError,
    NotYoursError,
    PostNotFoundError,
    PostNotReadyError,
    UploadGoneError,
    UploadTakenOverError,
)
from image_poster.domain.feed import EPOCH_MS, FeedQuery, FeedSort, epoch_of
from image_poster.domain.idempotency import AlreadyAnsweredError, IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.ids import new_id
from image_poster.domain.images import RENDITIONS
from image_poster.domain.limits import PAGE_MAX_BYTES
from image_poster.domain.posts import (
    PROCESSING_FAILED,
    UNFINISHED,
    Failure,
    Post,
    PostEdit,
    PostStatus,
    StoredPost,
    edited_post,
    failed_post,
    published_post,
    uploaded_post,
)
from image_poster.domain.uploads import Upload
from image_poster.ports.comments import CommentStore
from image_poster.ports.feed import FeedReader, FeedRebuilder
from image_poster.ports.images import ImageStore, SweepableImages
from image_poster.ports.posts import Job, JobQueue, PostStore, TombstoneQueue
from image_poster.ports.uploads import AwaitedUploads, UploadRecord, UploadRecordStore, UploadStore
from support.renderer import RENDERED

DAY_MS = 24 * 3600 * 1000
ALICE, BOB, ROOT = Identity("alice"), Identity("bob"), Identity("root", admin=True)


async def at_once() -> None:
    """Whatever follows from a write is there when it returns."""


@dataclass(kw_only=True)
class Adapters:
    """The ports of one back-end. `settle` waits until what follows from writes has been done."""

    clock: ManualClock
    posts: PostStore
    comments: CommentStore
    feed: FeedReader
    rebuilder: FeedRebuilder
    upload_records: UploadRecordStore
    settle: Callable[[], Awaitable[None]] = at_once


@dataclass(kw_only=True)
class MachineAdapters(Adapters):
    """Those of one machine, where nobody else retries, expires and removes."""

    jobs: JobQueue
    tombstones: TombstoneQueue
    awaited: AwaitedUploads


def a_post(creator: str = "alice") -> Post:
    return Post(
        id=new_id(),
        status=PostStatus.PROCESSING,
        caption="a caption",
        alt="",
        creator=creator,
        created_at="2026-01-01T00:00:00.000Z",
    )


def a_comment(post_id: str, creator: str = "bob", content: str = "hello") -> Comment:
    return Comment(new_id(), post_id, creator, content, "2026-01-01T00:00:00.000Z")


def a_record(
    key: str, user: str = "bob", body: bytes = b"answer", location: str = "/somewhere"
) -> IdempotencyRecord:
    return IdempotencyRecord(user, key, b"fingerprint", body, location)


async def forget_old(adapters: "MachineAdapters") -> None:
    """As the sweeper does, by both clocks."""
    clock = adapters.clock
    await adapters.tombstones.forget(service_ms=clock.service_ms(), now_ms=clock.now_ms())


async def processing(adapters: Adapters, creator: str = "alice") -> str:
    post = a_post(creator)
    await adapters.posts.add(post)
    return post.id


async def done_next(adapters: MachineAdapters) -> str:
    """The next job, done at once: its post."""
    job = await adapters.jobs.lease(60_000)
    assert job is not None
    await adapters.posts.update(job.post_id, lambda current: published_post(current, RENDERED))
    return job.post_id


async def ready(adapters: Adapters, creator: str = "alice") -> str:
    post = a_post(creator)
    await adapters.posts.add(post)
    await adapters.posts.update(post.id, lambda current: published_post(current, RENDERED))
    return post.id


async def stored_post(adapters: Adapters, post_id: str) -> StoredPost:
    stored = await adapters.posts.find(post_id)
    assert stored is not None
    return stored


class DecodedPost(NamedTuple):
    """A post with its comments, decoded."""

    post: Post
    total_comments: int
    latest_comments: list[Comment]


async def shown(adapters: Adapters, post_id: str) -> DecodedPost:
    await adapters.settle()
    stored = await stored_post(adapters, post_id)
    latest = [decode_comment(document) for document in stored.latest_comments(10)]
    return DecodedPost(stored.post, stored.total_comments, latest)


@pytest.mark.anyio
class PostStoreSuite:
    async def test_what_was_added_is_found(self, adapters: Adapters) -> None:
        post = a_post()
        await adapters.posts.add(post)
        stored = await stored_post(adapters, post.id)
        assert (stored.id, stored.total_comments, stored.post) == (post.id, 0, post)
        assert await adapters.posts.find(new_id()) is None

    async def test_adding_twice_changes_nothing(self, adapters: Adapters) -> None:
        post = a_post()
        await adapters.posts.add(post)
        await adapters.posts.add(msgspec.structs.replace(post, caption="other"))
        assert (await stored_post(adapters, post.id)).post == post

    async def test_a_receipt_is_kept_with_its_post_and_stops_the_next(
        self, adapters: Adapters
    ) -> None:
        first, second = a_post(), a_post()
        await adapters.posts.add(first, a_record("key"))
        with pytest.raises(AlreadyAnsweredError) as used:
            await adapters.posts.add(second, a_record("key", body=b"other"))
        assert used.value.record == a_record("key")
        assert await adapters.posts.find(second.id) is None
        await adapters.posts.add(second, a_record("other key"))

    async def test_only_what_is_ready_is_ready(self, adapters: Adapters) -> None:
        shown_id, removed = await ready(adapters), await ready(adapters)
        await adapters.posts.remove(removed, ALICE)
        ids = [shown_id, removed, await processing(adapters), new_id()]
        answers = [await adapters.posts.is_ready(post_id) for post_id in ids]
        assert answers == [True, False, False, False]

    async def test_an_update_is_kept_and_given_back(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        after = await adapters.posts.update(
            post_id, lambda post: edited_post(post, ALICE, PostEdit("new"), now="now")
        )
        assert after.post.caption == "new"
        assert await stored_post(adapters, post_id) == after

    async def test_an_update_that_raises_changes_nothing(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        before = await stored_post(adapters, post_id)
        with pytest.raises(NotYoursError):
            await adapters.posts.update(
                post_id, lambda post: edited_post(post, BOB, PostEdit("x"), now="now")
            )
        assert await stored_post(adapters, post_id) == before

    async def test_an_update_of_nothing_is_told(self, adapters: Adapters) -> None:
        with pytest.raises(PostNotFoundError):
            await adapters.posts.update(new_id(), lambda post: post)

    async def test_an_update_keeps_counts_and_latest(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        comment = a_comment(post_id)
        await adapters.comments.add(comment)
        await adapters.posts.update(
            post_id, lambda post: edited_post(post, ALICE, PostEdit("new"), now="now")
        )
        post = await shown(adapters, post_id)
        assert (post.total_comments, post.latest_comments) == (1, [comment])

    async def test_creator_and_admin_remove(self, adapters: Adapters) -> None:
        for by in (ALICE, ROOT):
            post_id = await ready(adapters)
            await adapters.posts.remove(post_id, by)
            assert await adapters.posts.find(post_id) is None

    async def test_removing_again_is_fine_for_who_did_it_only(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        await adapters.posts.remove(post_id, ALICE)
        await adapters.posts.remove(post_id, ALICE)
        with pytest.raises(PostNotFoundError):
            await adapters.posts.remove(post_id, BOB)

    async def test_only_a_deletion_is_known_as_one(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        assert not await adapters.posts.was_deleted(post_id)
        assert not await adapters.posts.was_deleted(new_id())
        await adapters.posts.remove(post_id, ALICE)
        assert await adapters.posts.was_deleted(post_id)

    async def test_an_upload_that_ended_is_told_from_a_post_that_was_deleted(
        self, adapters: Adapters
    ) -> None:
        ended, deleted, complete = [a_post() for _ in range(3)]
        for post in (ended, deleted, complete):
            awaiting = msgspec.structs.replace(post, status=PostStatus.AWAITING_UPLOAD)
            await adapters.posts.add(awaiting, None, Upload(10, DAY_MS))
        await adapters.posts.update(complete.id, uploaded_post)
        assert not await adapters.posts.was_aborted(ended.id)
        await adapters.posts.remove(ended.id, ALICE, ended=True)
        await adapters.posts.remove(deleted.id, ALICE)
        await adapters.posts.remove(complete.id, ALICE, ended=True)  # it had come just before
        was_aborted = [
            await adapters.posts.was_aborted(post.id) for post in (ended, deleted, complete)
        ]
        assert was_aborted == [True, False, False]
        for post in (ended, deleted, complete):
            assert await adapters.posts.was_deleted(post.id)

    @pytest.mark.parametrize("path", ["posts", "uploads"])
    async def test_the_record_of_a_deleted_post_has_no_text(
        self, adapters: Adapters, path: str
    ) -> None:
        post = a_post()
        record = a_record("key", "alice", location=f"/{path}/{post.id}")
        await adapters.posts.add(post, record)
        await adapters.posts.add(a_post(), a_record("other", "alice", location=f"/{path}/x"))
        await adapters.posts.remove(post.id, ROOT)
        for key, body in (("key", b""), ("other", b"answer")):
            with pytest.raises(AlreadyAnsweredError) as used:
                await adapters.posts.add(a_post(), a_record(key, "alice"))
            assert used.value.record.body == body
            assert used.value.record.fingerprint == record.fingerprint

    async def test_a_record_takes_the_place_of_the_one_that_is_named_and_of_no_other(
        self, adapters: Adapters
    ) -> None:
        first, second, third = [
            msgspec.structs.replace(a_record("key"), location=f"/uploads/{number}")
            for number in range(3)
        ]
        await adapters.posts.add(a_post(), first)
        await adapters.posts.add(a_post(), second, instead_of=first)
        with pytest.raises(AlreadyAnsweredError) as used:  # as when two come at once
            await adapters.posts.add(a_post(), third, instead_of=first)
        assert used.value.record == second
        with pytest.raises(AlreadyAnsweredError):
            await adapters.posts.add(a_post(), third)

    async def test_others_may_not_remove_nor_see_what_is_not_ready(
        self, adapters: Adapters
    ) -> None:
        with pytest.raises(NotYoursError):
            await adapters.posts.remove(await ready(adapters), BOB)
        with pytest.raises(PostNotFoundError):
            await adapters.posts.remove(await processing(adapters), BOB)
        with pytest.raises(PostNotFoundError):
            await adapters.posts.remove(new_id(), ALICE)


@pytest.mark.anyio
class CommentStoreSuite:
    async def test_counts_and_latest_follow_at_once(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        comments = [a_comment(post_id, content=str(number)) for number in range(12)]
        for comment in comments:
            await adapters.comments.add(comment)
        post = await shown(adapters, post_id)
        assert (post.total_comments, post.latest_comments) == (12, comments[:1:-1])

    async def test_latest_are_the_greatest_ids_whatever_the_order_of_arrival(
        self, adapters: Adapters
    ) -> None:
        post_id = await ready(adapters)
        comments = [a_comment(post_id, content=str(number)) for number in range(12)]
        for comment in [*comments[6:], *comments[:6]]:
            await adapters.comments.add(comment)
        assert (await shown(adapters, post_id)).latest_comments == comments[:1:-1]

    async def test_only_ready_posts_take_comments(self, adapters: Adapters) -> None:
        post_id = await processing(adapters)
        with pytest.raises(PostNotReadyError):
            await adapters.comments.add(a_comment(post_id, "alice"))
        for target in (post_id, new_id()):
            with pytest.raises(PostNotFoundError):
                await adapters.comments.add(a_comment(target, "bob"))

    async def test_a_receipt_is_kept_with_its_comment_and_stops_the_next(
        self, adapters: Adapters
    ) -> None:
        post_id = await ready(adapters)
        await adapters.comments.add(a_comment(post_id), a_record("key"))
        with pytest.raises(AlreadyAnsweredError) as used:
            await adapters.comments.add(a_comment(post_id), a_record("key", body=b"other"))
        assert used.value.record == a_record("key")
        await adapters.comments.add(a_comment(post_id), a_record("key", user="carol"))
        assert (await shown(adapters, post_id)).total_comments == 2

    async def test_a_refused_comment_leaves_its_key_unused(self, adapters: Adapters) -> None:
        with pytest.raises(PostNotFoundError):
            await adapters.comments.add(a_comment(new_id()), a_record("key"))
        await adapters.comments.add(a_comment(await ready(adapters)), a_record("key"))

    async def test_the_record_of_a_deleted_comment_has_no_text(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        comments = [a_comment(post_id) for _ in range(3)]
        for comment in comments:
            location = f"/posts/{post_id}/comments/{comment.id}"
            await adapters.comments.add(comment, a_record(comment.id, location=location))
        await adapters.settle()
        await adapters.comments.remove(post_id, comments[0].id, BOB)
        await adapters.comments.remove(post_id, comments[1].id, ALICE)
        await adapters.comments.remove(post_id, comments[1].id, ALICE)
        for comment, body in zip(comments, (b"", b"", b"answer"), strict=True):
            with pytest.raises(AlreadyAnsweredError) as used:
                await adapters.comments.add(a_comment(post_id), a_record(comment.id))
            assert used.value.record.body == body

    async def test_a_receipt_is_known_though_its_post_is_gone(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        await adapters.comments.add(a_comment(post_id), a_record("key"))
        await adapters.posts.remove(post_id, ALICE)
        with pytest.raises(AlreadyAnsweredError):
            await adapters.comments.add(a_comment(post_id), a_record("key"))

    async def test_pages_join(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        comments = [a_comment(post_id, content=str(number)) for number in range(5)]
        for comment in comments:
            await adapters.comments.add(comment)
        first = await adapters.comments.page(post_id, limit=2, after=None)
        second = await adapters.comments.page(post_id, limit=2, after=first.next)
        third = await adapters.comments.page(post_id, limit=2, after=second.next)
        docs = [*first.items, *second.items, *third.items]
        assert [decode_comment(doc) for doc in docs] == comments[::-1]
        assert third.next is None
        nothing = await adapters.comments.page(new_id(), limit=2, after=None)
        assert nothing == ([], None)

    async def test_an_edit_shows_in_the_latest(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        comment = a_comment(post_id)
        await adapters.comments.add(comment)
        changed = await adapters.comments.update(
            post_id, comment.id, lambda current: msgspec.structs.replace(current, content="new")
        )
        assert changed.content == "new"
        assert (await shown(adapters, post_id)).latest_comments == [changed]

    async def test_deleting_refills_the_latest_and_can_be_repeated(
        self, adapters: Adapters
    ) -> None:
        post_id = await ready(adapters)
        added_comments = [a_comment(post_id, content=str(number)) for number in range(12)]
        for comment in added_comments:
            await adapters.comments.add(comment)
        for _ in range(2):
            await adapters.comments.remove(post_id, added_comments[11].id, BOB)
        post = await shown(adapters, post_id)
        assert (post.total_comments, post.latest_comments) == (11, added_comments[10:0:-1])

    async def test_who_may_delete(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        for by in (BOB, ALICE, ROOT):
            comment = a_comment(post_id)
            await adapters.comments.add(comment)
            with pytest.raises(NotYoursError):
                await adapters.comments.remove(post_id, comment.id, Identity("mallory"))
            await adapters.comments.remove(post_id, comment.id, by)
            with pytest.raises(CommentNotFoundError):
                await adapters.comments.remove(post_id, comment.id, Identity("mallory"))
        assert (await shown(adapters, post_id)).total_comments == 0

    async def test_a_page_has_room_for_so_much_and_goes_on_behind_it(
        self, adapters: Adapters
    ) -> None:
        post_id = await ready(adapters)
        comments = [a_comment(post_id, content="x" * 60_000) for _ in range(30)]
        for comment in comments:
            await adapters.comments.add(comment)
        documents, after = list[bytes](), None
        while True:
            page = await adapters.comments.page(post_id, limit=100, after=after)
            assert sum(map(len, page.items)) < PAGE_MAX_BYTES
            documents += page.items
            if page.next is None:
                break
            after = page.next
        newest_first = sorted((comment.id for comment in comments), reverse=True)
        assert [decode_comment(document).id for document in documents] == newest_first

    async def test_one_comment_is_found_as_it_is_now(self, adapters: Adapters) -> None:
        post_id, other_id = await ready(adapters), await ready(adapters)
        comment = a_comment(post_id)
        await adapters.comments.add(comment)
        current = await adapters.comments.find(post_id, comment.id)
        assert decode_comment(current) == comment
        with pytest.raises(CommentNotFoundError):
            await adapters.comments.find(other_id, comment.id)
        await adapters.comments.remove(post_id, comment.id, BOB)
        with pytest.raises(CommentNotFoundError):
            await adapters.comments.find(post_id, comment.id)

    async def test_what_is_not_there_is_told(self, adapters: Adapters) -> None:
        post_id = await ready(adapters)
        with pytest.raises(CommentNotFoundError):
            await adapters.comments.update(post_id, new_id(), lambda comment: comment)
        with pytest.raises(PostNotFoundError):
            await adapters.comments.update(new_id(), new_id(), lambda comment: comment)
        with pytest.raises(PostNotFoundError):
            await adapters.comments.remove(await processing(adapters), new_id(), Identity("carol"))


def later_query(adapters: Adapters, **question: Any) -> FeedQuery:
    """A question about the feed, so much later that a walk goes through all that was written."""
    return FeedQuery(epoch=epoch_of(adapters.clock.now_ms()) + 3, **question)


@pytest.mark.anyio
class FeedReaderSuite:
    async def test_only_ready_posts_are_in_it(self, adapters: Adapters) -> None:
        shown_id = await ready(adapters)
        await processing(adapters)
        removed = await ready(adapters)
        await adapters.posts.remove(removed, ALICE)
        for sort in FeedSort:
            page = await adapters.feed.page(later_query(adapters, sort=sort, limit=10))
            assert [stored.id for stored in page.items] == [shown_id]
            assert page.next is None

    async def test_both_orders_and_pages(self, adapters: Adapters) -> None:
        ids = [await ready(adapters) for _ in range(4)]
        for index in (0, 0, 2):
            await adapters.comments.add(a_comment(ids[index]))
        await adapters.settle()
        expected = {
            FeedSort.TOP: [ids[0], ids[2], ids[3], ids[1]],
            FeedSort.NEW: ids[::-1],
        }
        for sort, order in expected.items():
            first = await adapters.feed.page(later_query(adapters, sort=sort, limit=3))
            second = await adapters.feed.page(
                later_query(adapters, sort=sort, limit=3, after=first.next)
            )
            assert [stored.id for stored in [*first.items, *second.items]] == order
            assert second.next is None

    @pytest.mark.parametrize("creator", [None, "alice"])
    async def test_a_walk_shows_each_post_once_though_ranks_move_around_it(
        self, adapters: Adapters, creator: str | None
    ) -> None:
        ids = [await ready(adapters) for _ in range(8)]
        for index in range(8):
            await adapters.comments.add(a_comment(ids[index]))
        await adapters.settle()
        query = later_query(adapters, sort=FeedSort.TOP, limit=3, creator=creator)
        page = await adapters.feed.page(query)
        assert [stored.id for stored in page.items] == ids[:-4:-1]
        adapters.clock.advance(4 * EPOCH_MS)
        comments = [a_comment(ids[0]) for _ in range(3)]
        for comment in comments:  # the last one climbs over all, the first of the page sinks
            await adapters.comments.add(comment)
        await adapters.posts.remove(ids[1], ALICE)
        await adapters.settle()
        listed_ids = [stored.id for stored in page.items]
        while page.next is not None:
            query = msgspec.structs.replace(query, after=page.next, epoch=query.epoch + 4)
            page = await adapters.feed.page(query)
            listed_ids += [stored.id for stored in page.items]
            totals = {stored.id: stored.total_comments for stored in page.items}
            assert totals.get(ids[0], 4) == 4  # today's
        assert listed_ids == [ids[index] for index in (7, 6, 5, 4, 3, 2, 0)]

    async def test_a_creators_own(self, adapters: Adapters) -> None:
        hers = [await ready(adapters, "alice") for _ in range(2)]
        await ready(adapters, "bob")
        for sort in FeedSort:
            page = await adapters.feed.page(
                later_query(adapters, sort=sort, limit=10, creator="alice")
            )
            assert [stored.id for stored in page.items] == hers[::-1]

    async def test_a_creators_unfinished_posts_are_listed_newest_first(
        self, adapters: Adapters
    ) -> None:
        upload = Upload(10, DAY_MS, "filename cA==", b"digest", "image/png")
        awaiting = msgspec.structs.replace(a_post(), status=PostStatus.AWAITING_UPLOAD)
        await adapters.posts.add(awaiting, None, upload)
        in_work, failed, _ = [await make(adapters) for make in (processing, processing, ready)]
        await adapters.posts.update(failed, lambda post: failed_post(post, Failure("code", "why")))
        deleted, _ = await processing(adapters), await processing(adapters, "bob")
        await adapters.posts.remove(deleted, ALICE)
        await adapters.settle()
        first = await adapters.feed.own_posts("alice", UNFINISHED, 2, None)
        assert [post.stored.id for post in first.items] == [failed, in_work]
        assert first.next is not None
        rest = await adapters.feed.own_posts("alice", UNFINISHED, 2, first.next)
        assert [(post.stored.id, post.upload) for post in rest.items] == [(awaiting.id, upload)]
        if rest.next is not None:  # a page that is full may say so where it cannot tell
            assert (await adapters.feed.own_posts("alice", UNFINISHED, 2, rest.next)).items == []


@pytest.mark.anyio
class JobQueueSuite:
    async def test_a_processing_post_is_due_once(self, adapters: MachineAdapters) -> None:
        post_id = await processing(adapters)
        await ready(adapters)
        assert await adapters.jobs.lease(1000) == Job(post_id, leases=1, failures=0)
        assert await adapters.jobs.lease(1000) is None

    async def test_a_lease_runs_out(self, adapters: MachineAdapters) -> None:
        post_id = await processing(adapters)
        await adapters.jobs.lease(1000)
        adapters.clock.advance(1000)
        assert await adapters.jobs.lease(1000) == Job(post_id, leases=2, failures=0)

    @pytest.mark.parametrize("by_ms", [-365 * DAY_MS, -3000, 365 * DAY_MS])
    async def test_a_wall_clock_that_is_set_moves_no_lease(
        self, adapters: MachineAdapters, by_ms: int
    ) -> None:
        leased, due = await processing(adapters), await processing(adapters)
        job = await adapters.jobs.lease(1000)
        assert job is not None
        assert job.post_id == leased
        adapters.clock.set_wall(adapters.clock.now_ms() + by_ms)
        assert await adapters.jobs.lease(1000) == Job(due, leases=1, failures=0)
        assert await adapters.jobs.lease(1000) is None
        adapters.clock.advance(1000)
        assert await adapters.jobs.lease(1000) == Job(leased, leases=2, failures=0)

    async def test_the_longest_waiting_is_first(self, adapters: MachineAdapters) -> None:
        first = await processing(adapters)
        adapters.clock.advance(5)
        await processing(adapters)
        job = await adapters.jobs.lease(1000)
        assert job is not None
        assert job.post_id == first

    async def test_users_take_turns(self, adapters: MachineAdapters) -> None:
        waiting = [await processing(adapters, "alice") for _ in range(5)]
        assert await done_next(adapters) == waiting[0]
        adapters.clock.advance(1)
        first, second = [await processing(adapters, "bob") for _ in range(2)]
        order = [await done_next(adapters) for _ in range(6)]
        assert order == [waiting[1], first, waiting[2], second, waiting[3], waiting[4]]

    async def test_whoever_comes_late_waits_for_one_job_of_each_other_user(
        self, adapters: MachineAdapters
    ) -> None:
        for _ in range(30):
            await processing(adapters, "alice")
        for _ in range(7):
            await done_next(adapters)
        for name in ("bob", "carol", "bob"):
            adapters.clock.advance(1)
            late = await processing(adapters, name)
            assert late in [await done_next(adapters) for _ in range(2)]

    async def test_what_left_processing_is_no_job(self, adapters: MachineAdapters) -> None:
        post_id = await processing(adapters)
        job = await adapters.jobs.lease(1000)
        assert job is not None
        bad = Failure("image_unreadable", "broken")
        await adapters.posts.update(post_id, lambda post: failed_post(post, bad))
        await adapters.jobs.retry(job, delay_ms=0, error="late")
        await adapters.jobs.postpone(job, delay_ms=0, error="late")
        await adapters.jobs.park(job, error="late")
        adapters.clock.advance(10_000)
        assert await adapters.jobs.lease(1000) is None
        assert await adapters.jobs.parked() == []
        assert (await shown(adapters, post_id)).post.failure == bad

    async def test_a_retry_comes_after_its_delay(self, adapters: MachineAdapters) -> None:
        post_id = await processing(adapters)
        job = await adapters.jobs.lease(1000)
        assert job is not None
        await adapters.jobs.retry(job, delay_ms=500, error="broke")
        assert await adapters.jobs.lease(1000) is None
        adapters.clock.advance(500)
        assert await adapters.jobs.lease(1000) == Job(post_id, leases=2, failures=1)

    async def test_a_postponed_job_counts_for_nothing(self, adapters: MachineAdapters) -> None:
        post_id = await processing(adapters)
        for _ in range(3):
            job = await adapters.jobs.lease(1000)
            assert job == Job(post_id, leases=1, failures=0)
            await adapters.jobs.postpone(job, delay_ms=500, error="no room")
            assert await adapters.jobs.lease(1000) is None
            adapters.clock.advance(500)
        assert await adapters.jobs.lease(1000) == Job(post_id, leases=1, failures=0)

    async def test_a_parked_job_is_seen_shown_as_failed_and_replayed(
        self, adapters: MachineAdapters
    ) -> None:
        post_id = await processing(adapters)
        job = await adapters.jobs.lease(1000)
        assert job is not None
        await adapters.jobs.park(job, error="it broke")
        assert [tuple(parked) for parked in await adapters.jobs.parked()] == [
            (post_id, 1, "it broke")
        ]
        assert (await shown(adapters, post_id)).post.failure == PROCESSING_FAILED
        assert await adapters.jobs.lease(1000) is None
        assert await adapters.jobs.replay(post_id)
        assert not await adapters.jobs.replay(post_id)
        assert await adapters.jobs.parked() == []
        assert await adapters.jobs.lease(1000) == Job(post_id, leases=1, failures=0)

    async def test_failures_are_listed_from_the_time_when_they_failed(
        self, adapters: MachineAdapters
    ) -> None:
        rejected, parked, fresh = [await processing(adapters) for _ in range(3)]
        adapters.clock.advance(DAY_MS)
        bad = Failure("image_unreadable", "broken")
        await adapters.posts.update(rejected, lambda post: failed_post(post, bad))
        adapters.clock.advance(1)
        await adapters.jobs.park(Job(parked, 1, 1), error="broke")
        failed_ms = adapters.clock.service_ms()
        adapters.clock.advance(1)
        await adapters.posts.update(fresh, lambda post: failed_post(post, bad))
        assert await adapters.jobs.expired_failures(failed_ms - 1, 10) == []
        assert await adapters.jobs.expired_failures(failed_ms + 1, 10) == [rejected, parked]
        assert await adapters.jobs.expired_failures(failed_ms + 1, 1) == [rejected]
        await adapters.jobs.replay(parked)
        await adapters.posts.remove(rejected, ALICE)
        assert await adapters.jobs.expired_failures(failed_ms + 2, 10) == [fresh]

    async def test_deleted_posts_are_no_jobs(self, adapters: MachineAdapters) -> None:
        post_id = await processing(adapters)
        job = await adapters.jobs.lease(1000)
        assert job is not None
        await adapters.posts.remove(post_id, ALICE)
        await adapters.jobs.retry(job, delay_ms=0, error="x")
        await adapters.jobs.park(job, error="x")
        assert not await adapters.jobs.replay(post_id)
        assert await adapters.jobs.lease(1000) is None


@pytest.mark.anyio
class TombstoneQueueSuite:
    async def test_remains_are_remembered_until_they_are_gone(
        self, adapters: MachineAdapters
    ) -> None:
        post_id = await ready(adapters)
        for number in range(5):
            comment = a_comment(post_id, content=str(number))
            location = f"/posts/{post_id}/comments/{comment.id}"
            await adapters.comments.add(comment, a_record(str(number), location=location))
        assert await adapters.tombstones.pending(10) == []
        await adapters.posts.remove(post_id, ALICE)
        assert await adapters.tombstones.pending(10) == [post_id]
        assert [await adapters.tombstones.purge_comments(post_id, 3) for _ in range(3)] == [
            True,
            True,
            False,
        ]
        assert await adapters.comments.page(post_id, limit=10, after=None) == ([], None)
        for number in range(5):
            with pytest.raises(AlreadyAnsweredError) as used:
                await adapters.posts.add(a_post(), a_record(str(number)))
            assert used.value.record.body == b""
        await adapters.tombstones.mark_purged(post_id)
        assert await adapters.tombstones.pending(10) == []

    async def test_what_is_finished_is_forgotten_in_time(self, adapters: MachineAdapters) -> None:
        done, open_ = await ready(adapters), await ready(adapters)
        for post_id in (done, open_):
            await adapters.posts.remove(post_id, ALICE)
        await adapters.tombstones.mark_purged(done)
        await adapters.posts.remove(done, ALICE)
        adapters.clock.advance(7 * DAY_MS)
        await forget_old(adapters)
        with pytest.raises(PostNotFoundError):
            await adapters.posts.remove(done, ALICE)
        await adapters.posts.remove(open_, ALICE)
        assert await adapters.tombstones.pending(10) == [open_]

    async def test_receipts_are_forgotten_in_time(self, adapters: MachineAdapters) -> None:
        await adapters.posts.add(a_post(), a_record("key"))
        adapters.clock.advance(7 * DAY_MS - 1)
        await forget_old(adapters)
        with pytest.raises(AlreadyAnsweredError):
            await adapters.posts.add(a_post(), a_record("key"))
        adapters.clock.advance(1)
        await forget_old(adapters)
        await adapters.posts.add(a_post(), a_record("key"))

    async def test_a_wall_clock_that_is_set_forward_forgets_nothing(
        self, adapters: MachineAdapters
    ) -> None:
        await adapters.posts.add(a_post(), a_record("key"))
        adapters.clock.set_wall(adapters.clock.now_ms() + 365 * DAY_MS)
        await forget_old(adapters)
        with pytest.raises(AlreadyAnsweredError):
            await adapters.posts.add(a_post(), a_record("key"))

    async def test_a_start_by_a_clock_that_was_ahead_forgets_nothing(
        self, adapters: MachineAdapters
    ) -> None:
        """The wall clock was a year ahead when the service started, and is right now."""
        await adapters.posts.add(a_post(), a_record("key"))
        adapters.clock.raise_to(adapters.clock.now_ms() + 365 * DAY_MS)
        await forget_old(adapters)
        with pytest.raises(AlreadyAnsweredError):
            await adapters.posts.add(a_post(), a_record("key"))

    async def test_a_boot_without_a_clock_forgets_nothing(self, adapters: MachineAdapters) -> None:
        """The service clock is a year ahead, by an earlier start, and 1970 cannot contradict."""
        done = await ready(adapters)
        await adapters.posts.remove(done, ALICE)
        await adapters.tombstones.mark_purged(done)
        await adapters.posts.add(a_post(), a_record("key"))
        adapters.clock.raise_to(adapters.clock.now_ms() + 365 * DAY_MS)
        adapters.clock.set_wall(60_000)
        await forget_old(adapters)
        await adapters.posts.remove(done, ALICE)
        with pytest.raises(AlreadyAnsweredError):
            await adapters.posts.add(a_post(), a_record("key"))
        adapters.clock.advance(7 * DAY_MS)  # it has no clock: after a lifetime, records end
        await forget_old(adapters)
        await adapters.posts.add(a_post(), a_record("key"))

    async def test_records_and_tombstones_of_1970_begin_anew_when_the_clock_is_right(
        self, adapters: MachineAdapters
    ) -> None:
        """Another server has started since, by a right clock."""
        passed_ms = adapters.clock.now_ms() - DAY_MS
        adapters.clock.advance(-passed_ms)
        done = await ready(adapters)
        await adapters.posts.remove(done, ALICE)
        await adapters.tombstones.mark_purged(done)
        await adapters.posts.add(a_post(), a_record("key"))
        for _ in range(2):
            await forget_old(adapters)
            await adapters.posts.remove(done, ALICE)
            with pytest.raises(AlreadyAnsweredError):
                await adapters.posts.add(a_post(), a_record("key"))
            adapters.clock.advance(passed_ms)
            passed_ms = 0
        await forget_old(adapters)
        adapters.clock.advance(7 * DAY_MS)
        await forget_old(adapters)
        with pytest.raises(PostNotFoundError):
            await adapters.posts.remove(done, ALICE)
        await adapters.posts.add(a_post(), a_record("key"))

    async def test_records_of_a_clock_that_was_ahead_are_forgotten_in_time(
        self, adapters: MachineAdapters
    ) -> None:
        adapters.clock.raise_to(adapters.clock.now_ms() + 365 * DAY_MS)
        await adapters.posts.add(a_post(), a_record("key"))
        adapters.clock.advance(7 * DAY_MS)
        await forget_old(adapters)
        await adapters.posts.add(a_post(), a_record("key"))


@pytest.mark.anyio
class FeedRebuilderSuite:
    async def test_right_posts_are_left_alone(self, adapters: Adapters) -> None:
        ids = [await ready(adapters) for _ in range(3)]
        await adapters.comments.add(a_comment(ids[1]))
        await adapters.settle()
        checked, after = 0, None
        while True:
            batch = await adapters.rebuilder.rebuild(after, 2)
            assert batch.drifted == []
            checked += batch.checked
            after = batch.next
            if after is None:
                break
        assert checked == len(ids)
        assert (await shown(adapters, ids[1])).total_comments == 1


class Reader:
    """Reads whole files; an adapter whose files are elsewhere has its own."""

    async def original(self, images: ImageStore, post_id: str) -> bytes:
        return await self.content(await images.open_original(post_id))

    async def rendition(self, images: ImageStore, post_id: str, name: str) -> bytes:
        return await self.content(await images.open_rendition(post_id, name))

    async def content(self, file: Any) -> bytes:
        content: bytes = await file.read(0, file.size)
        file.close()
        return content


@pytest.mark.anyio
class ImageStoreSuite:
    """Needs the fixture `images`."""

    @pytest.fixture
    def reader(self) -> Reader:
        return Reader()

    async def stored(self, images: ImageStore, content: bytes = b"original") -> str:
        post_id = new_id()
        staged = images.stage(post_id)
        await staged.write(content)
        await staged.commit()
        return post_id

    async def published(self, images: ImageStore) -> str:
        post_id = await self.stored(images)
        async with images.workspace(post_id) as work:
            for name in RENDITIONS:
                (work.folder / f"{name}.jpg").write_bytes(name.encode())
            await images.publish(post_id, work)
        return post_id

    async def test_an_original_comes_back_byte_for_byte(
        self, images: ImageStore, reader: Reader
    ) -> None:
        chunks = [bytes([number]) * 700_000 for number in range(4)]
        post_id = new_id()
        staged = images.stage(post_id)
        for chunk in chunks:
            await staged.write(chunk)
        with pytest.raises(ImageNotFoundError):
            await images.open_original(post_id)
        assert not await images.has_original(post_id)
        await staged.commit()
        await staged.discard()
        assert await reader.original(images, post_id) == b"".join(chunks)
        assert await images.has_original(post_id)

    async def test_a_discarded_original_never_was(self, images: ImageStore) -> None:
        post_id = new_id()
        staged = images.stage(post_id)
        await staged.write(bytes(2_000_000))
        await staged.discard()
        with pytest.raises(ImageNotFoundError):
            await images.open_original(post_id)

    async def test_renditions_are_published_together(
        self, images: ImageStore, reader: Reader
    ) -> None:
        post_id = await self.published(images)
        for name in RENDITIONS:
            assert await reader.rendition(images, post_id, name) == name.encode()

    async def test_publishing_again_replaces(self, images: ImageStore, reader: Reader) -> None:
        post_id = await self.published(images)
        async with images.workspace(post_id) as work:
            for name in RENDITIONS:
                (work.folder / f"{name}.jpg").write_bytes(b"new")
            await images.publish(post_id, work)
        assert await reader.rendition(images, post_id, "600") == b"new"

    async def test_a_workspace_has_the_original_and_is_gone_after(self, images: ImageStore) -> None:
        post_id = await self.stored(images, b"the original")
        async with images.workspace(post_id) as work:
            folder: Path = work.folder
            assert work.original.read_bytes() == b"the original"
        assert not folder.exists()

    async def test_without_an_original_there_is_no_workspace(self, images: ImageStore) -> None:
        with pytest.raises(ImageNotFoundError):
            async with images.workspace(new_id()):
                pass

    async def test_removing_takes_everything_and_can_be_repeated(
        self, images: ImageStore, reader: Reader
    ) -> None:
        post_id = await self.published(images)
        for _ in range(2):
            await images.remove(post_id)
        assert not await images.has_original(post_id)
        with pytest.raises(ImageNotFoundError):
            await images.open_original(post_id)
        with pytest.raises(ImageNotFoundError):
            await reader.rendition(images, post_id, "600")


@pytest.mark.anyio
class ServedImageStoreSuite(ImageStoreSuite):
    """For stores whose files we serve and sweep ourselves. Needs the fixture `clock_ms` too, which
    gives a time after all that was stored."""

    async def test_any_part_of_a_file_can_be_read(self, images: ImageStore) -> None:
        file: Any = await images.open_original(await self.stored(images, b"0123456789"))
        assert (file.size, await file.read(3, 4), await file.read(8, 9)) == (10, b"3456", b"89")
        file.close()

    async def test_an_etag_changes_with_the_content(self, images: ImageStore) -> None:
        reader: Any = await images.open_original(await self.stored(images, b"one"))
        other: Any = await images.open_original(await self.stored(images, b"other"))
        assert reader.etag != other.etag
        reader.close()
        other.close()

    async def test_leftovers_are_what_is_older(
        self, images: SweepableImages, clock_ms: int
    ) -> None:
        post_ids = {await self.published(images), await self.stored(images)}
        assert {post_id async for post_id in images.leftovers(0)} == set()
        assert {post_id async for post_id in images.leftovers(clock_ms)} == post_ids

    async def test_what_is_in_quarantine_is_seen_by_nobody_and_no_leftover(
        self, images: SweepableImages, clock_ms: int
    ) -> None:
        post_id, other = await self.published(images), await self.stored(images)
        assert await images.quarantine(post_id, clock_ms) == 1 + len(RENDITIONS)
        assert await images.quarantine(post_id, clock_ms) == 0
        with pytest.raises(ImageNotFoundError):
            await images.open_original(post_id)
        with pytest.raises(ImageNotFoundError):
            await images.open_rendition(post_id, "600")
        assert {post_id async for post_id in images.leftovers(clock_ms)} == {other}

    async def test_quarantine_is_told_by_the_time_of_the_move_and_purged_post_by_post(
        self, images: SweepableImages, clock_ms: int
    ) -> None:
        first, other = await self.published(images), await self.stored(images)
        for post_id in (first, other):
            await images.quarantine(post_id, clock_ms)
        later = clock_ms + 2 * DAY_MS
        assert [post_id async for post_id in images.quarantined(clock_ms)] == []
        assert await images.purge(first, clock_ms) == 0
        assert {post_id async for post_id in images.quarantined(later)} == {first, other}
        assert await images.purge(first, later) == 1 + len(RENDITIONS)
        assert [post_id async for post_id in images.quarantined(later)] == [other]

    async def test_what_is_put_back_is_seen_again_and_replaces_nothing(
        self, images: SweepableImages, clock_ms: int, reader: Reader
    ) -> None:
        post_id = await self.published(images)
        await images.quarantine(post_id, clock_ms)
        staged = images.stage(post_id)
        await staged.write(b"another")
        await staged.commit()
        assert await images.put_back(post_id, awaiting=False) == len(RENDITIONS)
        assert await reader.original(images, post_id) == b"another"
        for name in RENDITIONS:
            assert await reader.rendition(images, post_id, name) == name.encode()
        assert await images.put_back(post_id, awaiting=False) == 0

    async def test_removing_a_post_takes_what_is_in_quarantine_along(
        self, images: SweepableImages, clock_ms: int
    ) -> None:
        post_id = await self.published(images)
        await images.quarantine(post_id, clock_ms)
        await images.remove(post_id)
        assert [entry async for entry in images.quarantined(clock_ms + 2 * DAY_MS)] == []


@pytest.mark.anyio
class UploadStoreSuite:
    """Needs the fixtures `uploads` and `images`, over one store."""

    async def test_bytes_are_appended_and_counted(self, uploads: UploadStore) -> None:
        post_id = new_id()
        assert await uploads.offset(post_id) == 0
        for piece in (b"one", b"and two"):
            writer = await uploads.take(post_id)
            await writer.write(piece)
            await writer.close()
        assert await uploads.offset(post_id) == writer.offset == 10

    async def test_the_newest_taker_has_it_and_the_older_writes_nothing_more(
        self, uploads: UploadStore
    ) -> None:
        post_id = new_id()
        older = await uploads.take(post_id)
        await older.write(b"kept")
        newer = await uploads.take(post_id)
        assert (older.superseded, newer.superseded, newer.offset) == (True, False, 4)
        with pytest.raises(UploadTakenOverError):
            await older.write(b"lost")
        with pytest.raises(UploadTakenOverError):
            await older.rewind(0)
        await older.close()
        await newer.write(b", and more")
        await newer.close()
        assert await uploads.offset(post_id) == 14

    async def test_asking_for_the_offset_takes_over_and_ends_a_half_open_request(
        self, uploads: UploadStore
    ) -> None:
        post_id = new_id()
        waiting = asyncio.Event()

        async def half_open() -> None:
            writer = await uploads.take(post_id)
            await writer.write(b"kept")
            waiting.set()
            await asyncio.Event().wait()

        request = asyncio.create_task(half_open())
        await waiting.wait()
        assert await uploads.offset(post_id) == 4
        with pytest.raises(asyncio.CancelledError):
            await request

    async def test_many_takers_at_once_have_one_winner_and_know_it(
        self, uploads: UploadStore
    ) -> None:
        post_id = new_id()

        async def take_and_write() -> bool:
            try:
                writer = await uploads.take(post_id)
                await writer.write(b"x")
            except (UploadTakenOverError, asyncio.CancelledError):
                return False
            return True

        tasks = [asyncio.create_task(take_and_write()) for _ in range(8)]
        done = await asyncio.gather(*tasks)
        assert done[-1]
        assert await uploads.offset(post_id) >= 1

    async def test_a_rewind_drops_what_lies_behind(self, uploads: UploadStore) -> None:
        post_id = new_id()
        writer = await uploads.take(post_id, unverified=True)
        await writer.write(b"0123456789")
        await writer.rewind(4)
        await writer.write(b"x")
        await writer.close()
        assert await uploads.offset(post_id) == 5

    async def test_a_promoted_upload_is_the_original(
        self, uploads: UploadStore, images: ImageStore
    ) -> None:
        post_id = new_id()
        writer = await uploads.take(post_id)
        await writer.write(b"image")
        await writer.close()
        for _ in range(2):
            await uploads.promote(post_id, b"")
        file: Any = await images.open_original(post_id)
        assert await file.read(0, file.size) == b"image"
        file.close()

    async def test_other_bytes_than_announced_are_dropped(
        self, uploads: UploadStore, images: ImageStore
    ) -> None:
        post_id = new_id()
        digest = hashlib.sha256(b"image").digest()
        for content in (b"damaged", b"image"):
            writer = await uploads.take(post_id)
            assert writer.offset == 0
            await writer.write(content)
            await writer.close()
            if content == b"damaged":
                with pytest.raises(ChecksumMismatchError):
                    await uploads.promote(post_id, digest)
                assert await uploads.offset(post_id) == 0
        await uploads.promote(post_id, digest)
        file: Any = await images.open_original(post_id)
        file.close()

    async def test_removing_a_post_takes_its_upload_along(
        self, uploads: UploadStore, images: ImageStore
    ) -> None:
        post_id = new_id()
        writer = await uploads.take(post_id)
        await writer.write(b"bytes")
        await writer.close()
        await images.remove(post_id)
        assert await uploads.offset(post_id) == 0


def an_upload(length: int | None = 10) -> tuple[Post, Upload]:
    post = msgspec.structs.replace(a_post(), status=PostStatus.AWAITING_UPLOAD)
    return post, Upload(length, expires_ms=99, metadata="caption Zm9v", sha256=b"digest")


async def awaiting(adapters: Adapters, length: int | None = 10) -> tuple[str, Upload]:
    post, upload = an_upload(length)
    await adapters.posts.add(post, None, upload)
    return post.id, upload


@pytest.mark.anyio
class UploadRecordStoreSuite:
    async def test_the_terms_stay_as_long_as_the_post(self, adapters: Adapters) -> None:
        post_id, upload = await awaiting(adapters)
        record = await adapters.upload_records.find(post_id)
        assert record is not None
        assert record._replace(offset=None) == UploadRecord("alice", True, upload)
        assert record.offset in (None, 0)
        await adapters.posts.update(post_id, uploaded_post)
        record = await adapters.upload_records.find(post_id)
        assert record is not None
        assert record._replace(offset=None) == UploadRecord("alice", False, upload)
        await adapters.posts.remove(post_id, ALICE)
        with pytest.raises(UploadGoneError):
            await adapters.upload_records.find(post_id)
        assert await adapters.upload_records.find(new_id()) is None

    async def test_a_deferred_length_is_declared_once(self, adapters: Adapters) -> None:
        post_id, _ = await awaiting(adapters, None)
        for length in (7, 8):
            await adapters.upload_records.declare_length(post_id, length)
        entry = await adapters.upload_records.find(post_id)
        assert entry is not None
        assert entry.upload.length == 7

    async def test_refused_bytes_add_up_while_bytes_are_awaited(self, adapters: Adapters) -> None:
        post_id, _ = await awaiting(adapters)
        records = adapters.upload_records
        assert [await records.count_refused(post_id, size) for size in (5, 7)] == [5, 12]
        await adapters.posts.update(post_id, uploaded_post)
        assert await records.count_refused(post_id, 5) == 0
        assert await records.count_refused(await ready(adapters), 5) == 0
        assert await records.count_refused(new_id(), 5) == 0


@pytest.mark.anyio
class AwaitedUploadsSuite:
    async def test_uploads_are_listed_as_long_as_they_await_bytes(
        self, adapters: MachineAdapters
    ) -> None:
        (first, terms), (second, _) = await awaiting(adapters), await awaiting(adapters)
        assert await adapters.awaited.awaiting("", 10) == [(first, terms), (second, terms)]
        assert await adapters.awaited.awaiting("", 1) == [(first, terms)]
        assert await adapters.awaited.awaiting(first, 10) == [(second, terms)]
        await adapters.posts.update(first, uploaded_post)
        await adapters.posts.remove(second, ALICE)
        assert await adapters.awaited.awaiting("", 10) == []

    async def test_a_complete_upload_is_due_at_once_and_once(
        self, adapters: MachineAdapters
    ) -> None:
        post_id, _ = await awaiting(adapters)
        assert await adapters.jobs.lease(1000) is None
        adapters.clock.advance(5)
        await adapters.posts.update(post_id, uploaded_post)
        assert await adapters.jobs.lease(1000) == Job(post_id, leases=1, failures=0)
        await adapters.posts.update(post_id, uploaded_post)
        assert await adapters.jobs.lease(1000) is None
