"""Checkpoints of the write-ahead log, in a thread beside the writer.

By default, a commit copies the log every thousand pages (https://www.sqlite.org/wal.html, section
3.1). All callers of its transaction wait for that. Here a thread copies while the writer continues.
It cannot reach the log's end, and a log that is not copied to its end grows without limit. So the
writer copies the last pages, and the next transaction restarts the log.
"""

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

_COPY_FROM_BYTES = 4 * 1024 * 1024
# Beyond that the writer waits for the thread: the log has a bound.
_MAX_LOG_BYTES = 64 * 1024 * 1024
# Each pass of the thread copies only the pages written during the pass before.
_MAX_PASSES, _FEW_PAGES = 8, 50
_SETTINGS = (
    "PRAGMA wal_autocheckpoint = 0",
    # Each new beginning cuts the file to that, so that its size tells how much is in it.
    f"PRAGMA journal_size_limit = {_COPY_FROM_BYTES}",
)


class Checkpoints:
    """Checkpoints of the database at `path`. `writer` and `copier` are connections of the writer's
    thread and of the copying thread."""

    def __init__(self, path: Path, writer: sqlite3.Connection, copier: sqlite3.Connection) -> None:
        self._log = path.with_name(f"{path.name}-wal")
        self._writer, self._copier = writer, copier
        for setting in _SETTINGS:
            writer.execute(setting)
        self._due, self._copied = threading.Event(), threading.Event()
        self._is_copying = self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpoints", daemon=True)
        self._thread.start()

    def after_commit(self) -> None:
        """Start or finish a checkpoint if the log is large. The writer's thread calls this after
        each transaction."""
        size = self._log_bytes()
        if size <= _COPY_FROM_BYTES:
            return
        if not self._is_copying:
            self._is_copying = True
            self._copied.clear()
            self._due.set()
        elif self._copied.is_set() or size > _MAX_LOG_BYTES:
            self._copied.wait()
            self._is_copying = False
            _copy(self._writer)

    def truncate(self, timeout_ms: int) -> bool:
        """Copy the whole log into the database, and cut its file to nothing. Waits at most
        `timeout_ms` for readers; returns False if one of them still needs the log, or another
        process copies it. The writer's thread calls this between two transactions."""
        if self._is_copying:
            self._copied.wait()
            self._is_copying = False
        (former,) = self._writer.execute("PRAGMA busy_timeout").fetchone()
        self._writer.execute(f"PRAGMA busy_timeout = {timeout_ms}")
        try:
            is_busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            return False
        finally:
            self._writer.execute(f"PRAGMA busy_timeout = {former}")
        return not is_busy

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True
        self._due.set()
        self._thread.join()
        self._copier.close()

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._is_closed:
                return
            self._catch_up()
            self._copied.set()

    def _catch_up(self) -> None:
        copied = 0
        for _ in range(_MAX_PASSES):
            before, copied = copied, _copy(self._copier)
            if copied - before < _FEW_PAGES:
                return

    def _log_bytes(self) -> int:
        with contextlib.suppress(OSError):
            return os.stat(self._log).st_size  # noqa: PTH116 - after each transaction
        return 0


def _copy(connection: sqlite3.Connection) -> int:
    """Copy pages of the log without waiting for readers or writers (PASSIVE). Returns the number of
    copied pages. After an error they stay durable in the log, and the next write meets the same
    error."""
    try:
        _, _, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error:
        return 0
    return int(copied)
