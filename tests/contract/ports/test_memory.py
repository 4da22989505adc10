"""The in-memory adapters keep the ports' contracts."""

from typing import Any

import pytest

from contract.ports import moderation_suite, suite, withholding
from fakes.accounts import MemoryAccountStore, MemoryBlockStore
from fakes.clock import ManualClock
from fakes.comments import MemoryCommentStore
from fakes.feed import MemoryFeedReader, MemoryFeedRebuilder
from fakes.images import MemoryImageStore
from fakes.jobs import MemoryJobQueue
from fakes.moderation import MemoryDecisionStore, MemoryReportStore
from fakes.posts import MemoryPostStore, MemoryTombstoneQueue
from fakes.state import MemoryState
from fakes.uploads import MemoryUploadRecordStore, MemoryUploadStore


@pytest.fixture
def adapters() -> suite.Adapters:
    clock, state = ManualClock(), MemoryState()
    decisions = MemoryDecisionStore(state, clock)
    return moderation_suite.MachineModerationAdapters(
        clock=clock,
        posts=MemoryPostStore(state, clock),
        comments=MemoryCommentStore(state, clock),
        feed=MemoryFeedReader(state),
        jobs=MemoryJobQueue(state, clock),
        tombstones=MemoryTombstoneQueue(state),
        rebuilder=MemoryFeedRebuilder(state),
        upload_records=MemoryUploadRecordStore(state),
        awaited=MemoryUploadRecordStore(state),
        reports=MemoryReportStore(state, clock),
        decisions=decisions,
        hashes=decisions,
        blocks=MemoryBlockStore(state, clock),
        accounts=MemoryAccountStore(state, clock),
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
