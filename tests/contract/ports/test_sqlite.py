"""The SQLite adapters keep the ports' contracts, and a few promises of their own."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from contract.ports import moderation_suite, suite
from contract.ports.suite import a_comment, ready, shown
from fakes.clock import ManualClock
from image_poster.adapters.sqlite import accounts, entries, feed, jobs, maintenance, moderation
from image_poster.adapters.sqlite.accounts import (
    SqliteAccountStore,
)
from image_poster.adapters.sqlite.database import Database, connect
from image_poster.adapters.sqlite.jobs import SqliteJobQueue
from image_poster.adapters.sqlite.maintenance import (
    SqliteCommentImporter,
    WriteProbe,
    greatest_time,
)
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.adapters.sqlite.schema import VERSION, SchemaTooNewError, SchemaTooOldError
from image_poster.domain.comments import Comment, decode_comment, encode_comment
from image_poster.domain.errors import NotReadyError, NotYoursError, StorageFullError
from image_poster.domain.feed import EPOCH_MS, FeedCursor, FeedQuery, FeedSort
from image_poster.domain.ids import new_id, rfc3339
from image_poster.domain.posts import PostStatus, encode_post
from image_poster.ports.posts import Job
from support.sqlite_adapters import adapters_of


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "test.db")
    yield opened
    await opened.close()


@pytest.fixture
def adapters(database: Database) -> suite.Adapters:
    return adapters_of(database, ManualClock())


@pytest.mark.anyio
async def test_comments_that_are_imported_from_the_future_raise_the_clock_of_the_server(
    adapters: suite.MachineAdapters, database: Database
) -> None:
    """It is another process that imports them. The next comment is the latest then."""
    post_id, clock = await suite.ready(adapters), adapters.clock
    ahead = ManualClock(clock.now_ms() + 365 * suite.DAY_MS)
    time = "2026-01-01T00:00:00.000Z"
    imported = Comment(ahead.new_id(), post_id, "bob", "imported", time)
    await SqliteCommentImporter(database, ManualClock()).add(post_id, [imported])
    clock.raise_to(greatest_time(database) + 1)
    newer = Comment(clock.new_id(), post_id, "bob", "newer", time)
    await adapters.comments.add(newer)
    page = await adapters.comments.page(post_id, limit=10, after=None)
    assert [decode_comment(doc).id for doc in page.items] == [newer.id, imported.id]


@pytest.mark.anyio
async def test_a_post_that_a_command_with_a_later_clock_added_is_due_at_once(
    adapters: suite.MachineAdapters, database: Database
) -> None:
    """The server started before its wall clock was set."""
    ahead = ManualClock(adapters.clock.now_ms() + 365 * suite.DAY_MS)
    imported = suite.a_post()
    await SqlitePostStore(database, ahead).add(imported)
    job = await adapters.jobs.lease(1000)
    assert job is not None
    assert job.post_id == imported.id
    await adapters.jobs.postpone(job, delay_ms=1000, error="the disk is full")
    assert await adapters.jobs.lease(1000) is None
    adapters.clock.advance(1000)
    assert await adapters.jobs.lease(1000) is not None


@pytest.mark.anyio
async def test_rebuild_corrects_times_and_covers_comments_that_a_former_version_imported(
    adapters: suite.MachineAdapters, database: Database
) -> None:
    post_id, now_ms = await suite.ready(adapters), adapters.clock.now_ms()
    ahead = ManualClock(now_ms + 365 * suite.DAY_MS)
    for wrong in ("1970-01-01T00:01:00.000Z", rfc3339(ahead.now_ms())):
        await adapters.comments.add(Comment(ahead.new_id(), post_id, "bob", "", wrong))
    await database.write(lambda connection: connection.execute("UPDATE feed_clock SET epoch = 1"))
    rebuilt = await adapters.rebuilder.rebuild(None, 10)
    assert rebuilt.repaired == [(post_id, 2, True)]
    assert rebuilt.drifted == []
    assert greatest_time(database) > ahead.now_ms() - EPOCH_MS
    stored = await adapters.posts.find(post_id)
    assert stored is not None
    times = {decode_comment(doc).created_at for doc in stored.latest_comments(10)}
    assert times == {rfc3339(now_ms)}
    assert (await adapters.rebuilder.rebuild(None, 10)).repaired == []


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


@pytest.mark.anyio
async def test_many_requests_share_transactions_and_a_refused_one_costs_the_others_nothing(
    adapters: suite.Adapters,
) -> None:
    post_id = await ready(adapters)
    comments = [a_comment(post_id, content=str(number)) for number in range(300)]
    refused = [adapters.posts.remove(post_id, suite.BOB) for _ in range(50)]
    results = await asyncio.gather(
        *(adapters.comments.add(comment) for comment in comments),
        *refused,
        return_exceptions=True,
    )
    assert results[:300] == [None] * 300
    assert all(isinstance(result, NotYoursError) for result in results[300:])
    assert (await shown(adapters, post_id)).total_comments == 300


@pytest.mark.anyio
async def test_a_caller_that_goes_away_costs_nobody_anything(adapters: suite.Adapters) -> None:
    post_id = await ready(adapters)
    leaving = asyncio.ensure_future(adapters.comments.add(a_comment(post_id)))
    await asyncio.sleep(0)
    leaving.cancel()
    await adapters.comments.add(a_comment(post_id))
    assert (await shown(adapters, post_id)).total_comments in (1, 2)


@pytest.mark.anyio
async def test_a_full_database_is_told_and_keeps_what_it_had(
    adapters: suite.Adapters, database: Database
) -> None:
    post_id = await ready(adapters)
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(StorageFullError):
        for number in range(2000):
            await adapters.comments.add(a_comment(post_id, content=f"{number}" * 300))
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 100000"))
    before = (await shown(adapters, post_id)).total_comments
    await adapters.comments.add(a_comment(post_id))
    assert (await shown(adapters, post_id)).total_comments == before + 1


@pytest.mark.anyio
async def test_drift_is_found_mended_and_reported(
    adapters: suite.Adapters, database: Database
) -> None:
    post_id = await ready(adapters)
    comment = a_comment(post_id)
    await adapters.comments.add(comment)
    await database.write(
        lambda connection: connection.execute("UPDATE posts SET total_comments = 7, latest = x''")
    )
    rebuilt = await adapters.rebuilder.rebuild(None, 10)
    assert [tuple(drift) for drift in rebuilt.drifted] == [(post_id, 7, 1)]
    post = await shown(adapters, post_id)
    assert (post.total_comments, post.latest_comments) == (1, [comment])


@pytest.mark.anyio
async def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    clock = ManualClock()
    first = Database(tmp_path / "again.db")
    post = suite.a_post()
    await SqlitePostStore(first, clock).add(post)
    await first.close()
    second = Database(tmp_path / "again.db")
    stored = await SqlitePostStore(second, clock).find(post.id)
    assert stored is not None
    assert stored.post == post
    await SqliteJobQueue(second, clock).lease(60_000)
    await SqliteJobQueue(second, clock).release_all()
    assert await SqliteJobQueue(second, clock).lease(60_000) is not None
    await second.close()


@pytest.mark.anyio
async def test_a_database_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(SchemaTooNewError):
        Database(path)


@pytest.mark.anyio
@pytest.mark.parametrize("creator", [None, "alice"])
@pytest.mark.parametrize("sort", list(FeedSort))
async def test_every_feed_question_is_answered_by_an_index_without_sorting(
    tmp_path: Path, sort: FeedSort, creator: str | None
) -> None:
    database = Database(tmp_path / "plan.db")
    steps = steps_of(tmp_path / "plan.db", feed.first_page_query(a_question(sort, creator)))
    await database.close()
    assert len(steps) == 1
    assert steps[0].startswith("SEARCH posts USING INDEX feed_")
    assert ("creator" in steps[0]) == (creator is not None)


@pytest.mark.anyio
@pytest.mark.parametrize("creator", [None, "alice"])
async def test_a_walk_is_answered_by_indexes_too(tmp_path: Path, creator: str | None) -> None:
    """Posts that it passes over are not read: what is asked of them is in the index."""
    database = Database(tmp_path / "plan.db")
    query = a_question(FeedSort.TOP, creator)
    holding = steps_of(tmp_path / "plan.db", feed.current_ranks_query(query, 998))
    past = steps_of(tmp_path / "plan.db", feed.past_ranks_query(query))
    last = steps_of(tmp_path / "plan.db", feed.scan_end_query(query))
    await database.close()
    index = "feed_creator_top" if creator else "feed_top"
    assert [step.split(" (")[0] for step in holding] == [
        "CO-ROUTINE near",
        f"SEARCH posts USING INDEX {index}",
        "SCAN near",
        "SEARCH posts USING INTEGER PRIMARY KEY",
    ]
    assert [step.split(" (")[0] for step in last] == [f"SEARCH posts USING INDEX {index}"]
    of_past = "USING COVERING INDEX past_ranks_creator" if creator else "USING PRIMARY KEY"
    assert [step.split(" (")[0] for step in past] == [f"SEARCH past_ranks {of_past}"]


def a_question(sort: FeedSort, creator: str | None) -> FeedQuery:
    after = FeedCursor(3, new_id(), as_of=998)
    return FeedQuery(epoch=1000, sort=sort, limit=10, creator=creator, after=after)


def steps_of(path: Path, sql: feed.Sql) -> list[str]:
    connection = connect(path)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {sql.text}", sql.parameters).fetchall()
    connection.close()
    return [row[3] for row in plan]


@pytest.mark.anyio
async def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    from image_poster.adapters.sqlite import migrations, schema

    path, clock = tmp_path / "old.db", ManualClock()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(migrations._FIRST)
    connection.execute("PRAGMA user_version = 1")
    post = suite.a_post()
    connection.execute(
        "INSERT INTO posts (id, status, creator, head, due_at) VALUES (?, ?, ?, ?, 0)",
        (post.id, post.status, post.creator, encode_post(post)),
    )
    connection.close()
    with pytest.raises(SchemaTooOldError):
        Database(path)  # a command beside an older server that runs
    schema.migrate(connect(path))
    database = Database(path)
    stored = await SqlitePostStore(database, clock).find(post.id)
    assert stored is not None
    assert stored.post == post
    job = await SqliteJobQueue(database, clock).lease(1000)
    assert job == Job(post.id, 1, 0)
    await database.close()


@pytest.mark.anyio
async def test_a_database_of_the_former_version_gets_the_tables_and_indexes_of_moderation(
    tmp_path: Path,
) -> None:
    from image_poster.adapters.sqlite import migrations, schema

    path, clock = tmp_path / "former.db", ManualClock()
    post, comment = suite.a_post(), suite.a_comment(new_id(), "bob")
    former = migrations.MIGRATIONS.index(migrations._MODERATION)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("fitting_latest", 1, schema._fitting_latest)
        for migration in migrations.MIGRATIONS[:former]:
            connection.executescript(migration)
        connection.execute(f"PRAGMA user_version = {former}")
        connection.execute(
            "INSERT INTO posts (id, status, creator, head, due_at) VALUES (?, 'failed', ?, ?, 5)",
            (post.id, post.creator, encode_post(post)),
        )
        connection.execute(
            "INSERT INTO comments (post_id, id, creator, doc) VALUES (?, ?, 'bob', ?)",
            (post.id, comment.id, encode_comment(comment)),
        )
    with closing(connect(path)) as connection:
        schema.migrate(connection)
    database = Database(path)
    accounts = SqliteAccountStore(database, clock)
    page = await accounts.comments_of("bob", limit=10, after=None)
    assert [decode_comment(doc) for doc in page.items] == [comment]
    # Its days begin with the migration.
    jobs, upgraded_ms = SqliteJobQueue(database, clock), time.time_ns() // 1_000_000
    assert await jobs.expired_failures(upgraded_ms - 3_600_000, 10) == []
    assert await jobs.expired_failures(upgraded_ms + 3_600_000, 10) == [post.id]
    assert await accounts.posts_of("alice", 10) == [post.id]
    await database.close()


@pytest.mark.anyio
async def test_each_query_of_moderation_and_accounts_has_an_index(tmp_path: Path) -> None:
    """None reads a whole table, and none sorts."""
    database = Database(tmp_path / "plan.db")
    queries = [
        *feed.own_posts_queries("alice", frozenset(PostStatus), 10, None),
        feed.Sql(moderation._QUEUE, ("", 10)),
        feed.Sql(moderation._LOG, ("~", 10)),
        feed.Sql(moderation._DECISIONS_OF_OWNER, ("alice", "~", 10)),
        feed.Sql(accounts._REPORTS_OF_USER, ("alice", "~", 10)),
        feed.Sql(accounts.LATEST_REPORTS_OF, ("id",)),
        feed.Sql(accounts._OPEN_REPORT, ("alice", "id", None)),
        feed.Sql(accounts._COMMENTS_OF, ("alice", "~", 10)),
        feed.Sql(accounts._ANY_COMMENTS, ("alice", 10)),
        feed.Sql(entries._CLOSE_CONTENT, ("delete", "post:id")),
        feed.Sql(entries.DECISIONS_ABOUT, ("post:id",)),
        feed.Sql(jobs._FAILED, (5, 10)),
        *(feed.Sql(erasure, ("alice", 10)) for erasure in accounts._ERASURES),
    ]
    plans = {sql.text: steps_of(tmp_path / "plan.db", sql) for sql in queries}
    await database.close()
    for text, steps in plans.items():
        for step in steps:
            assert not step.startswith(("USE TEMP B-TREE", "SCAN")), (text, steps)


def written_at(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT at FROM probe").fetchone()[0])


@pytest.mark.anyio
async def test_however_many_ask_whether_writes_are_taken_one_row_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither all who ask one process, nor those who ask another within the second."""
    # Here an hour, for on a busy machine they may take longer than a second.
    monkeypatch.setattr(maintenance, "_PROBE_SECONDS", 3600.0)
    path = tmp_path / "test.db"
    database, elsewhere = Database(path), Database(path)
    probe = WriteProbe(database)
    await asyncio.gather(*(probe.check() for _ in range(100)))
    at, changes = written_at(path), database.read("PRAGMA data_version")
    await asyncio.gather(*(probe.check() for _ in range(100)))
    await WriteProbe(elsewhere).check()
    assert (written_at(path), database.read("PRAGMA data_version")) == (at, changes)
    await database.write(
        lambda connection: connection.execute("UPDATE probe SET at = at - 3600000")
    )
    await WriteProbe(elsewhere).check()
    assert written_at(path) > at
    for connection in (database, elsewhere):
        await connection.close()


@pytest.mark.anyio
async def test_a_clock_that_was_set_back_does_not_make_the_probe_believe(tmp_path: Path) -> None:
    database = Database(tmp_path / "test.db")
    future = time.time_ns() // 1_000_000 + 3_600_000
    await database.write(
        lambda connection: connection.execute("UPDATE probe SET at = ?", (future,))
    )
    await WriteProbe(database).check()
    assert written_at(tmp_path / "test.db") < future
    await database.close()


@pytest.mark.anyio
async def test_a_database_that_another_holds_is_not_ready(tmp_path: Path) -> None:
    database, other = Database(tmp_path / "test.db"), connect(tmp_path / "test.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotReadyError, match="too busy"):
        await WriteProbe(database).check()
    other.execute("ROLLBACK")
    other.close()
    await database.close()
