"""The in-memory adapters keep the ports' contracts."""

import pytest

from contract.ports import suite
from image_poster.adapters.memory import (
    ManualClock,
    MemoryAwaitingUploads,
    MemoryCommentStore,
    MemoryFeedReader,
    MemoryFeedRebuilder,
    MemoryImageStore,
    MemoryJobQueue,
    MemoryPostStore,
    MemoryState,
    MemoryTombstoneQueue,
    MemoryUploadRecordStore,
    MemoryUploadStore,
)


@pytest.fixture
def adapters() -> suite.Adapters:
    clock, state = ManualClock(), MemoryState()
    return suite.MachineAdapters(
        clock=clock,
        posts=MemoryPostStore(state, clock),
        comments=MemoryCommentStore(state, clock),
        feed=MemoryFeedReader(state),
        jobs=MemoryJobQueue(state, clock),
        cleanup=MemoryTombstoneQueue(state),
        projection=MemoryFeedRebuilder(state),
        ledger=MemoryUploadRecordStore(state),
        awaiting=MemoryAwaitingUploads(state),
    )


@pytest.fixture
def pictures() -> MemoryImageStore:
    return MemoryImageStore(ManualClock(1000))


@pytest.fixture
def uploads(pictures: MemoryImageStore) -> MemoryUploadStore:
    return MemoryUploadStore(pictures)


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


class TestCleanup(suite.CleanupSuite):
    pass


class TestProjection(suite.ProjectionSuite):
    pass


class TestPictureStore(suite.ServedPictureStoreSuite):
    pass


class TestUploadStore(suite.UploadStoreSuite):
    pass


class TestUploadLedger(suite.UploadLedgerSuite):
    pass


class TestAwaitingUploads(suite.AwaitingUploadsSuite):
    pass
