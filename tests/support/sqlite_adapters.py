"""All SQLite adapters over one database, for the suites of the ports."""

from contract.ports.moderation_suite import MachineModerationAdapters
from fakes.clock import ManualClock
from image_poster.adapters.sqlite.accounts import (
    SqliteAccountStore,
    SqliteBlockStore,
    SqliteReportStore,
)
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed import SqliteFeedReader
from image_poster.adapters.sqlite.idempotency import SqliteTombstoneQueue
from image_poster.adapters.sqlite.jobs import SqliteJobQueue
from image_poster.adapters.sqlite.maintenance import SqliteFeedRebuilder
from image_poster.adapters.sqlite.moderation import SqliteDecisionStore
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.adapters.sqlite.uploads import SqliteUploadRecordStore


def adapters_of(database: Database, clock: ManualClock) -> MachineModerationAdapters:
    """The stores of one process."""
    decisions = SqliteDecisionStore(database, clock)
    return MachineModerationAdapters(
        clock=clock,
        posts=SqlitePostStore(database, clock),
        comments=SqliteCommentStore(database, clock),
        feed=SqliteFeedReader(database),
        jobs=SqliteJobQueue(database, clock),
        tombstones=SqliteTombstoneQueue(database),
        rebuilder=SqliteFeedRebuilder(database, clock),
        upload_records=SqliteUploadRecordStore(database),
        awaited=SqliteUploadRecordStore(database),
        reports=SqliteReportStore(database, clock),
        decisions=decisions,
        hashes=decisions,
        blocks=SqliteBlockStore(database, clock),
        accounts=SqliteAccountStore(database, clock),
    )
