"""Once the deletion of an account is finished, none of its texts is in any file of the database."""

import asyncio
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from random import Random

import msgspec
import pytest

from contract.ports.moderation_suite import (
    NOW,
    MachineModerationAdapters,
    a_decision,
    a_report,
    edited,
    erase_comments,
    erase_records,
)
from contract.ports.suite import a_comment, a_post, a_record, ready, shown
from fakes.clock import ManualClock
from image_poster.adapters.sqlite import database as sqlite_database
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.maintenance import SqliteCommentImporter
from image_poster.adapters.sqlite.uploads import SqliteUploadQuota
from image_poster.domain.accounts import Block
from image_poster.domain.comments import Comment
from image_poster.domain.errors import BusyError
from image_poster.domain.identity import Identity
from image_poster.domain.limits import Limits, Rates
from image_poster.domain.moderation import Action, Appeal, Subject
from image_poster.domain.posts import PostStatus
from image_poster.domain.uploads import Upload
from support.sqlite_adapters import adapters_of

SECRET, KEPT = "zxqsecret", "zxqkept"
NOBODY = Identity("", admin=True)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "test.db")
    yield opened
    await opened.close()


@pytest.fixture
def adapters(database: Database) -> MachineModerationAdapters:
    return adapters_of(database, ManualClock())


def files_with(folder: Path, text: str) -> list[str]:
    """The files that have the text, as it is or in Base64."""
    needles = [text.encode(), *(b64encode(b"_" * at + text.encode())[4:-4] for at in range(3))]
    return [
        path.name
        for path in folder.iterdir()
        if any(needle in path.read_bytes() for needle in needles)
    ]


def text_of(number: int, word: str = SECRET) -> str:
    """A text of any length, up to several pages of the database."""
    return f"{word}{number} " * (1, 9, 70, 900)[number % 4]


async def write_everything(adapters: MachineModerationAdapters) -> None:
    """All that a user can store, beside the content of others."""
    others = [await ready(adapters, "carol") for _ in range(4)]
    for number in range(300):
        post_id = others[number % 4]
        by_carol = a_comment(post_id, "carol", text_of(number, KEPT))
        await adapters.comments.add(by_carol)
        comment = a_comment(post_id, "bob", text_of(number))
        location = f"/posts/{post_id}/comments/{comment.id}"
        record = a_record(f"{SECRET} key {number}", "bob", text_of(number).encode(), location)
        await adapters.comments.add(comment, record)
        if number % 3 == 0:
            await adapters.comments.update(post_id, comment.id, edited(text_of(number + 1)))
        if number % 5 == 0:
            await adapters.comments.remove(post_id, comment.id, Identity("bob"))
    for number in range(8):
        await own_post(adapters, number)
    for number, post_id in enumerate(others):
        report = a_report(adapters, post_id, reporter="bob")
        await adapters.reports.add(msgspec.structs.replace(report, text=text_of(number)))
    await adapters.blocks.add("bob", Block(f"{SECRET} rival", NOW))
    ban = a_decision(adapters, Action.BAN, Subject(user="bob"))
    await adapters.decisions.decide(ban)
    await adapters.decisions.appeal(ban.id, "bob", Appeal(text_of(2), NOW))


async def own_post(adapters: MachineModerationAdapters, number: int) -> None:
    caption, alt = text_of(number), text_of(number + 1)
    post = msgspec.structs.replace(a_post("bob"), caption=caption, alt=alt)
    upload = None
    if number % 2:
        post = msgspec.structs.replace(post, status=PostStatus.AWAITING_UPLOAD)
        name = b64encode(f"{SECRET}.jpg".encode()).decode()
        upload = Upload(9, 10**15, f"filename {name}")
    record = a_record(f"{SECRET} post {number}", "bob", text_of(number).encode(), f"/x/{post.id}")
    await adapters.posts.add(post, record, upload)


async def erase(adapters: MachineModerationAdapters, user: str, limit: int = 7) -> None:
    """As the service does, but for the end."""
    await adapters.accounts.begin_deletion(user)
    while post_ids := await adapters.accounts.posts_of(user, limit):
        for post_id in post_ids:
            await adapters.posts.remove(post_id, NOBODY)
    await erase_comments(adapters, user, limit)
    await erase_records(adapters, user, limit)


@pytest.mark.anyio
async def test_no_file_of_the_database_has_a_text_of_a_deleted_account(
    adapters: MachineModerationAdapters, tmp_path: Path
) -> None:
    await write_everything(adapters)
    assert files_with(tmp_path, SECRET)
    await erase(adapters, "bob")
    await adapters.accounts.finish_deletion("bob")
    assert files_with(tmp_path, SECRET) == []
    assert files_with(tmp_path, KEPT) == ["test.db"]
    assert (await adapters.rebuilder.rebuild(None, 100)).drifted == []


@pytest.mark.anyio
async def test_copies_that_sqlite_left_in_unused_parts_of_pages_are_gone(
    adapters: MachineModerationAdapters, tmp_path: Path
) -> None:
    """It leaves them where it moves rows from one page to another, in spite of `secure_delete`."""
    random = Random(0)
    posts = [await ready(adapters, "carol") for _ in range(20)]
    live = list[Comment]()
    for _ in range(8):
        comments = [
            a_comment(random.choice(posts), user, f"{word} " * random.choice((1, 9, 90, 400)))
            for user, word in [("bob", SECRET), ("carol", KEPT)] * 150
        ]
        random.shuffle(comments)
        await asyncio.gather(*map(adapters.comments.add, comments))
        live += comments
        random.shuffle(live)
        removals = [live.pop() for _ in range(200)]
        await asyncio.gather(
            *(
                adapters.comments.remove(gone.post_id, gone.id, Identity(gone.creator))
                for gone in removals
            )
        )
    await erase(adapters, "bob", 200)
    await adapters.accounts.finish_deletion("bob")
    assert files_with(tmp_path, SECRET) == []


@pytest.mark.anyio
async def test_the_name_stays_in_the_log_the_queue_and_the_ban_only(
    adapters: MachineModerationAdapters, database: Database
) -> None:
    await write_everything(adapters)
    await erase(adapters, "bob")
    await adapters.accounts.finish_deletion("bob")
    tables = database.read("SELECT name FROM sqlite_schema WHERE type = 'table'")
    with_name = set[str]()
    for (table,) in tables:
        rows = database.read(f"SELECT * FROM {table}")  # noqa: S608 - names of tables
        if any("bob" in str(row) for row in rows):
            with_name.add(table)
    assert with_name == {"accounts", "entries", "decisions", "appeals"}


@pytest.mark.anyio
async def test_a_reader_of_another_process_delays_the_end_of_a_deletion(
    adapters: MachineModerationAdapters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_TRUNCATION_TIMEOUT_MS", 10)
    post_id = await ready(adapters)
    await adapters.comments.add(a_comment(post_id, "bob", SECRET))
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM comments").fetchone()
        await erase(adapters, "bob")
        with pytest.raises(BusyError):
            await adapters.accounts.finish_deletion("bob")
        assert await adapters.accounts.deleting() == ["bob"]
        writes = [adapters.comments.add(a_comment(post_id, "carol")) for _ in range(3)]
        await asyncio.gather(*writes)  # they only wait for the time-out
        reader.execute("COMMIT")
    await adapters.accounts.finish_deletion("bob")
    assert await adapters.accounts.deleting() == []
    assert files_with(tmp_path, SECRET) == []
    assert (await shown(adapters, post_id)).total_comments == 3


@pytest.mark.anyio
async def test_a_deletion_goes_on_in_another_process_after_a_crash_at_each_step(
    tmp_path: Path,
) -> None:
    clock, path = ManualClock(), tmp_path / "test.db"
    database = Database(path)
    await write_everything(adapters_of(database, clock))
    await adapters_of(database, clock).accounts.begin_deletion("bob")
    await database.close()
    steps, is_over = 0, False
    while not is_over:
        steps += 1
        database = Database(path)
        adapters = adapters_of(database, clock)
        (user,) = await adapters.accounts.deleting()
        is_over = await one_step(adapters, user)
        assert (await adapters.rebuilder.rebuild(None, 100)).drifted == []
        await database.close()
    assert steps > 5
    assert files_with(tmp_path, SECRET) == []


async def one_step(adapters: MachineModerationAdapters, user: str) -> bool:
    """The next step of a deletion; True if it was the last one."""
    post_ids = await adapters.accounts.posts_of(user, 3)
    for post_id in post_ids:
        await adapters.posts.remove(post_id, NOBODY)
    if post_ids or await adapters.accounts.erase_comments(user, 60):
        return False
    if await adapters.accounts.erase_records(user, 60):
        return False
    await adapters.accounts.finish_deletion(user)
    return True


@pytest.mark.anyio
async def test_bytes_that_are_refused_during_a_deletion_leave_no_record_of_the_user(
    adapters: MachineModerationAdapters, database: Database
) -> None:
    limits = Limits(rates=Rates(bytes_per_day=1000))
    quota = SqliteUploadQuota(database, adapters.clock, limits)
    for user in ("bob", "carol"):
        await quota.charge(user, 10)
    await adapters.accounts.begin_deletion("bob")
    await erase_records(adapters, "bob", 7)
    for user in ("bob", "carol"):
        await quota.charge(user, 10)
    assert database.read("SELECT user, bytes FROM daily_bytes") == [("carol", 20)]


@pytest.mark.anyio
async def test_an_import_revives_no_comment_of_an_account_that_is_being_deleted(
    adapters: MachineModerationAdapters, database: Database
) -> None:
    post_id = await ready(adapters)
    await adapters.accounts.begin_deletion("bob")
    comments = [a_comment(post_id, "bob"), a_comment(post_id, "carol")]
    importer = SqliteCommentImporter(database, adapters.clock)
    assert await importer.add(post_id, comments) == 1
    assert (await shown(adapters, post_id)).latest_comments == comments[1:]
