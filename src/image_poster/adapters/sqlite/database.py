"""The database file: its connections and their settings, the writer thread, and the translation of
SQLite's errors.

Many requests share one durable transaction (group commit). While one transaction is synced, further
requests queue for the next one and share its fsync.
"""

import asyncio
import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from image_poster.adapters.sqlite.checkpoints import Checkpoints
from image_poster.adapters.sqlite.schema import prepare
from image_poster.domain.errors import BusyError, ImagePosterError, StorageFullError
from image_poster.domain.idempotency import AlreadyAnsweredError
from image_poster.domain.moderation import AlreadyReportedError
from image_poster.ports import Clock
from image_poster.ports.tracing import Tracer

# Greater than any id: a list begins with its newest item.
GREATEST_ID = "~"

_FULL = {sqlite3.SQLITE_FULL}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def translated(error: Exception) -> Exception:
    """Translate SQLite's error to `StorageFullError` or `BusyError` by its code
    (https://www.sqlite.org/rescode.html). Any other error is a bug of this program and is returned
    unchanged."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in _FULL:
        return _caused(StorageFullError(), error)
    if primary in _BUSY:
        return _caused(BusyError(), error)
    return error


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


Result = TypeVar("Result")
Operation = Callable[[sqlite3.Connection], Result]
Lock = Callable[[], AbstractContextManager[None]]

_MAX_BATCH = 512
# Errors of one operation that leave the others of its transaction alone.
_REFUSALS = (ImagePosterError, AlreadyAnsweredError, AlreadyReportedError)


class _QueuedOperation(NamedTuple):
    operation: Operation[Any]
    answer: asyncio.Future[Any]
    after_commit: bool = False


class _Outcome(NamedTuple):
    answer: asyncio.Future[Any]
    value: object
    error: Exception | None


class Writer:
    """Owns the only connection that writes. An operation raises before its first write or not at
    all, so a refused one does not affect the others of its transaction."""

    def __init__(
        self, connection: sqlite3.Connection, checkpoints: Checkpoints, lock: Lock = nullcontext
    ) -> None:
        """`lock` acquires the writer lock, if other processes write too."""
        self._connection = connection
        self._checkpoints = checkpoints
        self._lock = lock
        self._queue: queue.SimpleQueue[_QueuedOperation | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, operation: Operation[Result], *, after_commit: bool = False) -> Result:
        """Run `operation` in a transaction, and return its result once it is durable.
        `after_commit`: run it between two transactions.

        Raises the operation's error, or `StorageFullError` or `BusyError` with nothing stored.
        """
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put(_QueuedOperation(operation, answer, after_commit))
        return await answer

    async def close(self) -> None:
        """Finish the queued operations, then end the thread and close the connection."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._checkpoints.close)
        self._connection.close()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            with self._lock():
                # Only now: operations queued while others wrote are in time for this transaction.
                batch, is_last = self._next_batch(first)
                outcomes = self._run_batch(batch)
            self._loop.call_soon_threadsafe(_set_results, outcomes)
            self._checkpoints.after_commit()
            if is_last:
                return

    def _next_batch(self, first: _QueuedOperation) -> tuple[list[_QueuedOperation], bool]:
        """`first` and the operations queued behind it; True if the writer must end then."""
        batch = [first]
        while len(batch) < _MAX_BATCH and not self._queue.empty():
            waiting = self._queue.get()
            if waiting is None:
                return batch, True
            batch.append(waiting)
        return batch, False

    def _run_batch(self, batch: list[_QueuedOperation]) -> list[_Outcome]:
        after = [waiting for waiting in batch if waiting.after_commit]
        if not after:
            return self._commit(batch)
        outcomes = self._commit([waiting for waiting in batch if not waiting.after_commit])
        return outcomes + [self._apply_alone(waiting) for waiting in after]

    def _commit(self, batch: list[_QueuedOperation]) -> list[_Outcome]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._apply(waiting) for waiting in batch]
            self._connection.execute("COMMIT")
        except Exception as exc:  # noqa: BLE001 - every caller must get an error
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            error = translated(exc)
            if len(batch) > 1 and not isinstance(exc, sqlite3.Error):
                # One operation is at fault, such as that of a damaged row: retry each by itself.
                return [outcome for waiting in batch for outcome in self._commit([waiting])]
            return [_Outcome(waiting.answer, None, error) for waiting in batch]
        return outcomes

    def _apply_alone(self, waiting: _QueuedOperation) -> _Outcome:
        try:
            return self._apply(waiting)
        except Exception as exc:  # noqa: BLE001 - its caller must get an error
            return _Outcome(waiting.answer, None, translated(exc))

    def _apply(self, waiting: _QueuedOperation) -> _Outcome:
        try:
            return _Outcome(waiting.answer, waiting.operation(self._connection), None)
        except _REFUSALS as refusal:
            return _Outcome(waiting.answer, None, refusal)


def _set_results(outcomes: list[_Outcome]) -> None:
    for answer, value, error in outcomes:
        if answer.done():  # its caller was cancelled
            continue
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)


_BUSY_TIMEOUT_MS = 10_000
# The temporary file of a rewrite, and the log, each have the size of the database.
_COPIES_OF_REWRITE = 2
# A rewrite of that takes one to two seconds.
_MAX_REWRITE_BYTES = 256 * 1024 * 1024
# After a rewrite that writers could notice, the next one waits for 19 times its duration.
_NOTICED_SECONDS, _PAUSE_PER_REWRITE = 0.25, 19
# Writers wait meanwhile.
_TRUNCATION_TIMEOUT_MS = 1_000
_WAL = "PRAGMA journal_mode = WAL"
_SETTINGS = (
    # FULL: the WAL is synced at each commit, so an answered write survives a power cut
    # (https://www.sqlite.org/pragma.html#pragma_synchronous).
    "PRAGMA synchronous = FULL",
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    # Deleted data is overwritten with zeros, in free pages too
    # (https://www.sqlite.org/pragma.html#pragma_secure_delete). The log keeps it until its pages
    # are copied and written anew, which `Checkpoints` bounds.
    "PRAGMA secure_delete = ON",
    "PRAGMA cache_size = -65536",
    "PRAGMA mmap_size = 268435456",
)


class LogUnsupportedError(sqlite3.OperationalError):
    """The file system lacks the shared memory that the write-ahead log needs
    (https://www.sqlite.org/wal.html, section 2.1)."""


class _WritingConnection(sqlite3.Connection):
    """The writer's connection. Transactions store their events by its `event_clock`, or no events
    without one. `trace` is the `traceparent` of the request whose operation runs."""

    event_clock: Clock | None = None
    trace: str | None = None


def event_clock(connection: sqlite3.Connection) -> Clock | None:
    """The clock of a transaction's events; None if events are not stored."""
    return connection.event_clock if isinstance(connection, _WritingConnection) else None


def trace_of(connection: sqlite3.Connection) -> str | None:
    """The `traceparent` of the request whose operation runs; None if it is not traced."""
    return connection.trace if isinstance(connection, _WritingConnection) else None


def _run_traced(
    trace: str | None, operation: Operation[Result], connection: sqlite3.Connection
) -> Result:
    if isinstance(connection, _WritingConnection):
        connection.trace = trace
        try:
            return operation(connection)
        finally:
            connection.trace = None
    return operation(connection)


def connect(
    path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """Open a connection in autocommit mode with `_SETTINGS`. Raises `LogUnsupportedError`."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, factory=factory
    )
    _begin_log(connection)
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection


def _begin_log(connection: sqlite3.Connection) -> None:
    try:
        (mode,) = connection.execute(_WAL).fetchone()
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorname.startswith("SQLITE_IOERR_SHM"):
            raise LogUnsupportedError(str(exc)) from exc
        raise
    if mode != "wal":  # without an error, SQLite keeps the mode that it can have there
        raise LogUnsupportedError(f"the journal mode is {mode}")


class Database:
    """One process's access: a connection that reads, and the writer. Create it on the event loop.

    Reads run on the event loop itself: a page of the feed takes some 50 µs, less than passing it
    to a thread (docs/decisions/0004).
    """

    def __init__(
        self,
        path: Path,
        check_free_space: Callable[[int], None] = lambda _size: None,
        lock: Lock = nullcontext,
    ) -> None:
        """`check_free_space` raises `StorageFullError` if the disk lacks that many bytes.
        Operations that add data call it; deletions do not. `lock` acquires the writer lock."""
        self.check_free_space = check_free_space
        self.tracer: Tracer | None = None
        self._path = path
        self._rewrite_at = 0.0
        self._writing = connect(path, _WritingConnection)
        prepare(self._writing)
        self._checkpoints = Checkpoints(path, self._writing, connect(path))
        self._writer = Writer(self._writing, self._checkpoints, lock)
        self._reading = connect(path)

    def store_events(self, clock: Clock | None) -> None:
        """From now on, have transactions store events by this clock, or none."""
        if isinstance(self._writing, _WritingConnection):
            self._writing.event_clock = clock

    def connect_aside(self) -> sqlite3.Connection:
        """A connection for slow reads in a thread. The caller closes it."""
        return connect(self._path)

    def read(self, sql: str, *parameters: object) -> list[Any]:
        """All rows of one query. It sees every write that has returned."""
        try:
            return self._reading.execute(sql, parameters).fetchall()
        except sqlite3.Error as exc:
            raise translated(exc) from exc

    def read_while(
        self, condition: Callable[[Any], bool], sql: str, *parameters: object
    ) -> list[Any]:
        """The rows of one query before the first for which `condition` returns False. SQLite does
        not read the rows behind it."""
        try:
            with closing(self._reading.execute(sql, parameters)) as rows:
                return list(itertools.takewhile(condition, rows))
        except sqlite3.Error as exc:
            raise translated(exc) from exc

    def read_one(self, sql: str, *parameters: object) -> Any | None:  # noqa: ANN401 - a row
        """The first row, or None."""
        try:
            return self._reading.execute(sql, parameters).fetchone()
        except sqlite3.Error as exc:
            raise translated(exc) from exc

    async def write(self, operation: Operation[Result]) -> Result:
        """Run an operation in the writer (`Writer.run`)."""
        tracer = self.tracer
        if tracer is None:
            return await self._writer.run(operation)
        trace = tracer.traceparent()
        with tracer.span("transaction"):
            return await self._writer.run(partial(_run_traced, trace, operation))

    async def truncate_log(self) -> None:
        """Remove deleted data from the write-ahead log. Raises `BusyError` if a reader of another
        process needs the log; then try again later."""
        await self._writer.run(self._truncate, after_commit=True)

    async def rewrite(self) -> None:
        """Rewrite the file of the database, and thereby remove deleted data from unused parts of
        its pages. Writers wait meanwhile.

        Raises `BusyError` soon after a slow rewrite: slow ones together may take a twentieth of the
        time. A file of more than `_MAX_REWRITE_BYTES` stays as it is, since writers would wait too
        long. Raises `StorageFullError`.
        """
        size = self._path.stat().st_size
        if size > _MAX_REWRITE_BYTES:
            return
        if time.monotonic() < self._rewrite_at:
            raise BusyError
        self.check_free_space(_COPIES_OF_REWRITE * size)
        await self._writer.run(self._rewrite, after_commit=True)

    def _rewrite(self, connection: sqlite3.Connection) -> None:
        began_at = time.monotonic()
        connection.execute("VACUUM")
        self._truncate(connection)
        seconds = time.monotonic() - began_at
        if seconds > _NOTICED_SECONDS:
            self._rewrite_at = began_at + (1 + _PAUSE_PER_REWRITE) * seconds

    def _truncate(self, _connection: sqlite3.Connection) -> None:
        if not self._checkpoints.truncate(_TRUNCATION_TIMEOUT_MS):
            raise BusyError

    async def close(self) -> None:
        """Finish the queued operations and close both connections."""
        await self._writer.close()
        self._reading.close()
