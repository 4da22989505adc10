"""The writer thread: many requests share one durable transaction.

While one transaction is being made durable, the next ones gather in the queue; the busier the
service, the more of them share the cost of an fsync.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from image_poster.adapters.sqlite.translate import translated
from image_poster.domain.errors import ImagePosterError
from image_poster.domain.idempotency import AlreadyAnsweredError

Result = TypeVar("Result")
Operation = Callable[[sqlite3.Connection], Result]

_MOST_A_COMMIT = 512


class _Waiting(NamedTuple):
    operation: Operation[Any]
    answer: asyncio.Future[Any]


class _Outcome(NamedTuple):
    answer: asyncio.Future[Any]
    value: object
    error: Exception | None


class Writer:
    """Owns the one connection that writes. An operation raises before its first write or not at
    all; so one that is refused costs the others of its transaction nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, operation: Operation[Result]) -> Result:
        """What `operation` returned, once it is durable.

        Raises what it raised, or `StorageFullError` or `BusyError` with nothing stored.
        """
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put(_Waiting(operation, answer))
        return await answer

    async def close(self) -> None:
        """Finish what was asked for so far, then end the thread and close the connection."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _run(self) -> None:
        running = True
        while running:
            batch: list[_Waiting] = []
            running = self._gather(batch)
            if batch:
                self._loop.call_soon_threadsafe(_settle, self._commit(batch))

    def _gather(self, batch: list[_Waiting]) -> bool:
        """Wait for one operation and take all that wait behind it; False: it is time to end."""
        waiting = self._queue.get()
        while waiting is not None:
            batch.append(waiting)
            if len(batch) == _MOST_A_COMMIT or self._queue.empty():
                return True
            waiting = self._queue.get()
        return False

    def _commit(self, batch: list[_Waiting]) -> list[_Outcome]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._apply(waiting) for waiting in batch]
            self._connection.execute("COMMIT")
        except Exception as exc:  # noqa: BLE001 - whatever it is, every caller must be told
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            error = translated(exc)
            return [_Outcome(waiting.answer, None, error) for waiting in batch]
        return outcomes

    def _apply(self, waiting: _Waiting) -> _Outcome:
        try:
            return _Outcome(waiting.answer, waiting.operation(self._connection), None)
        except (ImagePosterError, AlreadyAnsweredError) as refusal:
            return _Outcome(waiting.answer, None, refusal)


def _settle(outcomes: list[_Outcome]) -> None:
    for answer, value, error in outcomes:
        if answer.done():  # its caller has gone away meanwhile
            continue
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)
