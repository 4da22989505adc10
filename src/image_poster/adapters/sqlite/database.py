"""The database file: connections, and the settings that its guarantees rest on."""

import sqlite3
from pathlib import Path
from typing import Any

from image_poster.adapters.sqlite.schema import migrate
from image_poster.adapters.sqlite.translate import translated
from image_poster.adapters.sqlite.writer import Operation, Result, Writer

_BUSY_TIMEOUT_MS = 10_000
_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    # FULL: the WAL is synced at each commit, so what was answered survives a power cut
    # (https://www.sqlite.org/pragma.html#pragma_synchronous).
    "PRAGMA synchronous = FULL",
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA cache_size = -65536",
    "PRAGMA mmap_size = 268435456",
)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode with our settings."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection


class Database:
    """One process's access: a connection that reads, and the writer. Make it on the event loop.

    Reads run right on the event loop: a page of the feed takes some 50 µs, less than handing it to
    a thread would (docs/decisions/0004).
    """

    def __init__(self, path: Path) -> None:
        writing = connect(path)
        migrate(writing)
        self._writer = Writer(writing)
        self._reading = connect(path)

    def read(self, sql: str, *parameters: object) -> list[Any]:
        """All rows of one query; it sees every write that has returned."""
        try:
            return self._reading.execute(sql, parameters).fetchall()
        except sqlite3.Error as exc:
            raise translated(exc) from exc

    def read_one(self, sql: str, *parameters: object) -> Any | None:  # noqa: ANN401 - a row
        """The first row, or None."""
        try:
            return self._reading.execute(sql, parameters).fetchone()
        except sqlite3.Error as exc:
            raise translated(exc) from exc

    async def write(self, operation: Operation[Result]) -> Result:
        """`Writer.run`."""
        return await self._writer.run(operation)

    async def close(self) -> None:
        """Finish writing and close."""
        await self._writer.close()
        self._reading.close()
