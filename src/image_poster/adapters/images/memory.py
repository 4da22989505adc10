"""One memory budget for all decoders of a server, over all of its processes.

It is a file with one byte for each slot of memory. A process acquires memory by locking as many of
these bytes. The kernel drops the locks when the process ends for any reason.
"""

import asyncio
import fcntl
import math
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

_SLOT_BYTES = 16_000_000
# An image waits for tenths of a second, if it waits: this long at a time.
_POLL_SECONDS = 0.01
_DEFAULT_BYTES, _DEFAULT_SHARE = 2_000_000_000, 3
_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",  # version 2
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def default_budget_bytes() -> int:
    """Return a third of the memory of the machine or the container, but at most 2 GB."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in map(Path, _CGROUP_LIMITS):
        try:
            limits.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(_DEFAULT_BYTES, min(limits) // _DEFAULT_SHARE)


class MemoryBudget:
    """A budget of `total_bytes` of memory.

    Processes that share a budget name the same `path`; without one, it is this process's own.
    """

    def __init__(self, total_bytes: int, path: Path | None = None) -> None:
        self.total_bytes = total_bytes
        self._slots = max(1, total_bytes // _SLOT_BYTES)
        self._queue = asyncio.Lock()
        self._own = os.memfd_create("image-memory") if path is None else -1
        self._path = path or Path(f"/proc/self/fd/{self._own}")

    @asynccontextmanager
    async def acquire(self, needs: int) -> AsyncIterator[None]:
        """Wait until `needs` bytes are free, and reserve them until the exit.

        Within one process, the first caller is served first. Of several processes, one at a time
        gathers its slots. So small images do not starve a large one, and there is no deadlock. A
        request for more than the budget gets all of it.
        """
        slots = min(max(1, math.ceil(needs / _SLOT_BYTES)), self._slots)
        # Locks belong to what was opened once: two of one process exclude each other too.
        opened = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            async with self._queue:
                await self._lock_slots(opened, slots)
            yield
        finally:
            os.close(opened)

    def close(self) -> None:
        """Close the budget's own file."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    async def _lock_slots(self, opened: int, count: int) -> None:
        """Lock `count` slots. Only one caller at a time does this, or two could wait for each
        other."""
        turnstile = self._slots
        await _until(lambda: _lock(opened, turnstile))
        locked: set[int] = set()

        def lock_more() -> bool:
            for slot in set(range(self._slots)) - locked:
                if len(locked) < count and _lock(opened, slot):
                    locked.add(slot)
            return len(locked) == count

        await _until(lock_more)
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, turnstile))


async def _until(is_done: Callable[[], bool]) -> None:
    # No event reports that another process has dropped a lock.
    while not is_done():  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)


def _lock(descriptor: int, byte: int) -> bool:
    """Lock a byte; return False if another caller holds it."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, byte))
    except (BlockingIOError, PermissionError):
        return False
    return True


def _flock(kind: int, byte: int) -> bytes:
    """Return a `struct flock` of one byte (fcntl(2), "Open file description locks")."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)
