"""The write-ahead log is copied beside the writer, and has a bound."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from image_poster.adapters.sqlite import checkpoints
from image_poster.adapters.sqlite.checkpoints import Checkpoints
from image_poster.adapters.sqlite.database import Database, connect

FROM, MOST, ROW = 100_000, 400_000, 10_000
TABLE = "CREATE TABLE rows (content BLOB)"
ADD, COUNT = "INSERT INTO rows VALUES (zeroblob(?))", "SELECT count(*) FROM rows"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_COPY_FROM_BYTES", FROM)
    monkeypatch.setattr(checkpoints, "_MAX_LOG_BYTES", MOST)
    settings = ("PRAGMA wal_autocheckpoint = 0", f"PRAGMA journal_size_limit = {FROM}")
    monkeypatch.setattr(checkpoints, "_SETTINGS", settings)


def log_bytes(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


def test_the_log_stays_within_its_bound_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "test.db"

    async def write() -> int:
        database = Database(path)
        await database.write(lambda connection: connection.execute(TABLE))
        largest = 0
        for _ in range(400):
            await database.write(lambda connection: connection.execute(ADD, (ROW,)))
            largest = max(largest, log_bytes(path))
        assert database.read(COUNT) == [(400,)]
        await database.close()
        return largest

    assert FROM < asyncio.run(write()) < MOST + 5 * ROW
    with closing(connect(path)) as connection:
        assert connection.execute(COUNT).fetchone() == (400,)


class SlowCopier:
    """A connection whose copying lasts until it is told to end."""

    def __init__(self) -> None:
        self.is_copying, self.may_end = threading.Event(), threading.Event()

    def execute(self, _sql: str) -> sqlite3.Cursor:
        self.is_copying.set()
        self.may_end.wait()
        raise sqlite3.OperationalError("the disk is gone")

    def close(self) -> None:
        """Nothing to let go of."""


def test_the_writer_goes_on_while_the_log_is_copied_until_it_is_too_long(tmp_path: Path) -> None:
    path, copier = tmp_path / "test.db", SlowCopier()
    writer = connect(path)
    writer.execute(TABLE)
    copies = Checkpoints(path, writer, copier)  # type: ignore[arg-type]

    def write_until(size: int) -> None:
        while log_bytes(path) <= size:
            writer.execute(ADD, (ROW,))
            copies.after_commit()

    write_until(FROM)
    assert copier.is_copying.wait(60)
    write_until(MOST - 2 * ROW)  # and nobody waited
    waiting = threading.Thread(target=write_until, args=(MOST,))
    waiting.start()
    copier.may_end.set()
    waiting.join()
    # The copy failed: all is in the log still, and the writer copied it.
    assert writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0] == 0
    writer.execute(ADD, (ROW,))
    copies.close()
    assert log_bytes(path) == FROM
    writer.close()
