"""The in-memory adapters keep the ports' contracts."""

from typing import Any

import pytest

from contract.ports import suite, withholding
from fakes.clock import ManualClock
from fakes.comments import MemoryCommentStore
from fakes.feed import MemoryFeedReader, MemoryFeedRebuilder
from fakes.images import MemoryImageStore
from fakes.jobs import MemoryJobQueue
from fakes.posts import MemoryPostStore, MemoryTombstoneQueue
from fakes.state import MemoryState
from fakes.uploads import MemoryUploadRecordStore, MemoryUploadStore


@pytest.fixture
def adapters() -> suite.Adapters:
    clock, state = ManualClock(), MemoryState()
    return suite.MachineAdapters(
        clock=clock,
        posts=MemoryPostStore(state, clock),
        comments=MemoryCommentStore(state, clock),
        feed=MemoryFeedReader(state),
        jobs=MemoryJobQueue(state, clock),
        tombstones=MemoryTombstoneQueue(state),
        rebuilder=MemoryFeedRebuilder(state),
        upload_records=MemoryUploadRecordStore(state),
        awaited=MemoryUploadRecordStore(state),
    )


@pytest.fixture
def images() -> MemoryImageStore:
    return MemoryImageStore(ManualClock(1000))


@pytest.fixture
def uploads(images: MemoryImageStore) -> MemoryUploadStore:
    return MemoryUploadStore(images)


@pytest.fixture
def clock_ms() -> int:
    return 1001


class TestPostStore(suite.PostStoreSuite):
    pass


class TestCommentStore(suite.CommentStoreSuite):
    pass


class TestFeedReader(suite.FeedReaderSuite):
    pass


class TestJobQueue(suite.JobQueueSuite):
    pass


class TestTombstoneQueue(suite.TombstoneQueueSuite):
    pass


class TestFeedRebuilder(suite.FeedRebuilderSuite):
    pass


class TestImageStore(suite.ServedImageStoreSuite, withholding.WithheldRenditionsSuite):
    async def is_public(self, images: Any, post_id: str, name: str) -> bool:
        return bool(images.is_public(post_id, name))


class TestUploadStore(suite.UploadStoreSuite):
    pass


class TestUploadRecordStore(suite.UploadRecordStoreSuite):
    pass


class TestAwaitedUploads(suite.AwaitedUploadsSuite):
    pass
