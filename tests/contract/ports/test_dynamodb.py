"""The DynamoDB adapters keep the ports' contracts: on the table in memory, and on the emulator."""

import pytest

from contract.ports import moderation_suite, suite
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.accounts import DynamoAccountStore, DynamoReportStore
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.feed import DynamoFeedReader, DynamoFeedRebuilder
from image_poster.adapters.dynamodb.moderation import DynamoDecisionStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.standing import DynamoBlockStore
from image_poster.adapters.dynamodb.stream import changes_by_post, decoded_records
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore, DynamoUsageStore
from image_poster.domain.errors import CommentNotFoundError
from image_poster.domain.idempotency import KEPT_MS, AlreadyAnsweredError
from image_poster.domain.limits import Limits
from image_poster.domain.posts import published_post
from image_poster.domain.uploads import Upload
from image_poster.editions.aws.events import EventualQuotas
from support.dynamodb import FakeTable
from support.renderer import RENDERED
from support.tables import EmulatedTable

StreamingTable = FakeTable | EmulatedTable


@pytest.fixture(params=["fake", "emulator"])
def table(request: pytest.FixtureRequest) -> StreamingTable:
    """An empty table."""
    if request.param == "fake":
        return FakeTable()
    return EmulatedTable(request.getfixturevalue("emulator"))


@pytest.fixture(params=[1, 3], ids=["one shard", "three shards"])
def adapters(request: pytest.FixtureRequest, table: StreamingTable) -> suite.Adapters:
    shards = request.param
    clock = ManualClock()
    counter = DynamoCommentCounter(table, clock, shards=shards)
    position = 0

    async def settle() -> None:
        nonlocal position
        while len(stream := table.stream) > position:
            records, position = stream[position:], len(stream)
            for changes in changes_by_post(decoded_records(records)):
                if changes.comments:
                    await counter.count(changes.post_id, changes.comments)

    quotas = EventualQuotas(DynamoUsageStore(table, clock), clock, Limits())
    check = quotas.check_may_write
    comments = DynamoCommentStore(table, clock, check_may_write=check)
    posts = DynamoPostStore(table, clock, shards=shards, removed=comments.forget, quotas=quotas)
    decisions = DynamoDecisionStore(
        table, clock, posts, comments, check_may_write=check, changed=quotas.forget
    )
    return moderation_suite.ModerationAdapters(
        clock=clock,
        posts=posts,
        comments=comments,
        reports=DynamoReportStore(table, clock, check_may_write=check),
        decisions=decisions,
        hashes=decisions,
        blocks=DynamoBlockStore(table, clock, check_may_write=check),
        accounts=DynamoAccountStore(
            table, clock, comments, standing=quotas.standing, changed=quotas.forget
        ),
        feed=DynamoFeedReader(table, shards=shards),
        rebuilder=DynamoFeedRebuilder(table, counter, shards=shards),
        upload_records=DynamoUploadRecordStore(table),
        settle=settle,
    )


class TestPostStore(suite.PostStoreSuite):
    pass


class TestCommentStore(suite.CommentStoreSuite):
    pass


class TestFeedReader(suite.FeedReaderSuite):
    pass


class TestFeedRebuilder(suite.FeedRebuilderSuite):
    pass


class TestUploadRecordStore(suite.UploadRecordStoreSuite):
    pass


class TestReportStore(moderation_suite.ReportStoreSuite):
    pass


class TestHiddenPosts(moderation_suite.HiddenPostSuite):
    pass


class TestDecisionStore(moderation_suite.DecisionStoreSuite):
    pass


class TestBans(moderation_suite.BanSuite):
    pass


class TestAppeals(moderation_suite.AppealSuite):
    pass


class TestLoggedChanges(moderation_suite.LoggedChangeSuite):
    pass


class TestBlockStore(moderation_suite.BlockStoreSuite):
    pass


class TestAccountStore(moderation_suite.AccountStoreSuite):
    pass


def texts_of(table: FakeTable) -> str:
    """All that the table has, as one text."""
    return repr(list(table.items.values()))


@pytest.mark.anyio
async def test_no_item_has_the_text_of_a_deleted_post_or_comment() -> None:
    table, clock = FakeTable(), ManualClock()
    posts, comments = DynamoPostStore(table, clock), DynamoCommentStore(table, clock)
    counter = DynamoCommentCounter(table, clock)
    post = suite.a_post()
    upload = Upload(9, clock.now_ms() + 1000, "caption aGVsbG8=")
    record = suite.a_record("k", "alice", b"caption", f"/uploads/{post.id}")
    await posts.add(post, record, upload)
    await posts.update(post.id, lambda current: published_post(current, RENDERED))
    first, second = (suite.a_comment(post.id, content="hello") for _ in range(2))
    for comment in (first, second):
        location = f"/posts/{post.id}/comments/{comment.id}"
        record = suite.a_record(comment.id, body=b"hello", location=location)
        await comments.add(comment, record)
    await counter.count(post.id, [first.id])
    await comments.remove(post.id, first.id, suite.BOB)
    await counter.count(post.id, [first.id])
    assert texts_of(table).count("hello") == 2  # of the second: itself, and its record
    await posts.remove(post.id, suite.ALICE)
    assert "caption" not in texts_of(table)
    assert "aGVsbG8=" not in texts_of(table)
    assert await posts.purge_comments(post.id, 10)
    assert "hello" not in texts_of(table)


@pytest.mark.anyio
async def test_a_deletion_leaves_a_record_alone_that_is_another_requests_by_now() -> None:
    table, clock = FakeTable(), ManualClock()
    posts, comments = DynamoPostStore(table, clock), DynamoCommentStore(table, clock)
    post = suite.a_post()
    await posts.add(post)
    await posts.update(post.id, lambda current: published_post(current, RENDERED))
    first, second = (suite.a_comment(post.id) for _ in range(2))
    for comment in (first, second):
        location = f"/posts/{post.id}/comments/{comment.id}"
        record = suite.a_record("key", body=comment.id.encode(), location=location)
        await comments.add(comment, record)
        clock.advance(KEPT_MS + 1)
    clock.advance(-KEPT_MS)
    await comments.remove(post.id, first.id, suite.BOB)
    with pytest.raises(AlreadyAnsweredError) as used:
        await comments.add(suite.a_comment(post.id), suite.a_record("key"))
    assert used.value.record.body == second.id.encode()
    with pytest.raises(CommentNotFoundError):
        await comments.find(post.id, first.id)
