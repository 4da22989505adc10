"""The DynamoDB adapters keep the ports' contracts: on the table in memory, and on the emulator."""

from collections.abc import Sequence
from typing import Protocol

import pytest

from contract.ports import suite
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.database import Table
from image_poster.adapters.dynamodb.feed import DynamoFeedReader, DynamoFeedRebuilder
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.stream import changes_by_post
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore
from image_poster.adapters.memory import ManualClock
from support.dynamodb import FakeTable, Record
from support.tables import EmulatedTable


class StreamingTable(Table, Protocol):
    """A table that tells its stream's records."""

    @property
    def stream(self) -> Sequence[Record]: ...


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
    counter = DynamoCommentCounter(table, clock)
    seen = 0

    async def settle() -> None:
        nonlocal seen
        while len(stream := table.stream) > seen:
            records, seen = stream[seen:], len(stream)
            for group in changes_by_post(records):
                if group.changes.comments:
                    await counter.count(group.changes.post_id, group.changes.comments)

    return suite.Adapters(
        clock=clock,
        posts=DynamoPostStore(table, clock, shards=shards),
        comments=DynamoCommentStore(table, clock),
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
