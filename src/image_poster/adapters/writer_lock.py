"""Turns at the database, for processes that write into the same one.

SQLite lets one write and has the others ask again after pauses that grow to a tenth of a second
(https://www.sqlite.org/c3ref/busy_timeout.html): who has just written comes first again, and the
others wait for long. Here they wait in the kernel, and whoever has written stands behind who waits.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Bytes that are locked. Only who is next waits for the turn itself; that it is next ends when it
# has got it.
_NEXT, _TURN = 0, 1


class WriterLock:
    """`descriptor` is that of a file that other processes attach to, whatever is in it; without,
    there are none, and it is always this one's turn. The locks are each process's own and go with
    it, however it ends (fcntl(2)), so one thread of a process may take turns."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Wait for this process's turn, and have it."""
        if self._descriptor is None:
            yield
            return
        self._lock(fcntl.LOCK_EX, _NEXT)
        self._lock(fcntl.LOCK_EX, _TURN)
        self._lock(fcntl.LOCK_UN, _NEXT)
        try:
            yield
        finally:
            self._lock(fcntl.LOCK_UN, _TURN)

    def _lock(self, kind: int, place: int) -> None:
        """Where it cannot be had, SQLite's own lock still keeps writers apart."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, kind, 1, place)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
