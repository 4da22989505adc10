"""The in-memory adapters keep the ports' contracts."""

import pytest

from contract.ports import suite
from image_poster.adapters.memory.awaiting_uploads import MemoryAwaitingUploads
from image_poster.adapters.memory.cleanup import MemoryCleanup
from image_poster.adapters.memory.clock import ManualClock
from image_poster.adapters.memory.comment_store import MemoryCommentStore
from image_poster.adapters.memory.feed_reader import MemoryFeedReader
from image_poster.adapters.memory.job_queue import MemoryJobQueue
from image_poster.adapters.memory.picture_store import MemoryPictureStore
from image_poster.adapters.memory.post_store import MemoryPostStore
from image_poster.adapters.memory.projection import MemoryProjection
from image_poster.adapters.memory.state import MemoryState
from image_poster.adapters.memory.upload_ledger import MemoryUploadLedger
from image_poster.adapters.memory.upload_store import MemoryUploadStore


@pytest.fixture
def adapters() -> suite.Adapters:
    clock, state = ManualClock(), MemoryState()
    return suite.MachineAdapters(
        clock=clock,
        posts=MemoryPostStore(state, clock),
        comments=MemoryCommentStore(state, clock),
        feed=MemoryFeedReader(state),
        jobs=MemoryJobQueue(state, clock),
        cleanup=MemoryCleanup(state),
        projection=MemoryProjection(state),
        ledger=MemoryUploadLedger(state),
        awaiting=MemoryAwaitingUploads(state),
    )


@pytest.fixture
def pictures() -> MemoryPictureStore:
    return MemoryPictureStore(ManualClock(1000))


@pytest.fixture
def uploads(pictures: MemoryPictureStore) -> MemoryUploadStore:
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
