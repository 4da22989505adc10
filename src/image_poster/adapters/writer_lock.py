"""A fair lock for processes that write to the same SQLite database.

SQLite admits one writer. The others retry after pauses that grow to a tenth of a second
(https://www.sqlite.org/c3ref/busy_timeout.html). So the last writer often wins again. Here
processes wait in the kernel, and the last writer queues behind the next one.
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
    """The writer lock of one process, for one thread of it.

    `descriptor` is of a file that the other processes share; its content does not matter. Without
    it there are no other processes, and no lock. The kernel releases a process's locks when the
    process ends (fcntl(2)).
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Wait for the lock and hold it."""
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
        """Change a lock. If that fails, SQLite's own lock still excludes other writers."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, kind, 1, place)

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
