"""State that the worker processes of one server share: counters of requests, notifications, and the
lock for writers of the database. Workers inherit its descriptors from their supervisor.

All of it ends with the last process: none of it has a name in a file system.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import mmap
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, Self

from image_poster.domain.limits import RATE_WINDOW_SECONDS, RateRule, seconds_to_wait

_KEY_BYTES = 64
_WAYS = 4
_SETS = 16_384
_MAX_CACHED_CALLERS = 8192
# The hash of a caller, the number of a minute, the requests in it, and those in the minute before.
_SLOT = Struct("<QIII4x")
_SET_BYTES = _WAYS * _SLOT.size
_HASH = Struct("<QQ")
_NO_LOCK = nullcontext()
# A notification is the id of a post.
_MAX_NOTIFICATION_BYTES = 64
# Bytes that a writer locks. Only the next writer waits for `_WRITER`; it stops being the next once
# it has that.
_NEXT, _WRITER = 0, 1

_Slot = tuple[int, int, int, int]


class WorkerDescriptors(NamedTuple):
    """The file descriptors that one worker inherits: the counters, the writer lock, its receiving
    socket, and the sending sockets to the other workers."""

    counters: int
    writer_lock: int
    receiver: int
    senders: tuple[int, ...]

    @property
    def inherited(self) -> tuple[int, ...]:
        """All descriptors."""
        return (self.counters, self.writer_lock, self.receiver, *self.senders)


def create_descriptors(workers: int) -> list[WorkerDescriptors]:
    """Create the descriptors for a number of workers."""
    counters, writer_lock = create_counters(), anonymous_file("image-poster-turns")
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(workers)]
    receivers = [receiver.detach() for receiver, _ in pairs]
    senders = [sender.detach() for _, sender in pairs]
    return [
        WorkerDescriptors(
            counters, writer_lock, receiver, tuple(senders[:index] + senders[index + 1 :])
        )
        for index, receiver in enumerate(receivers)
    ]


def anonymous_file(name: str) -> int:
    """The descriptor of a file without a name, which ends when all its descriptors are closed."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def create_counters() -> int:
    """The descriptor of empty counters with a secret key. With the key, an attacker could choose
    addresses that push other callers out of their sets."""
    descriptor = anonymous_file("image-poster-rates")
    os.ftruncate(descriptor, _KEY_BYTES + _SETS * _SET_BYTES)
    os.pwrite(descriptor, secrets.token_bytes(_KEY_BYTES), 0)
    return descriptor


class RateCounters:
    """Counters of requests per caller and minute, in memory.

    The window slides: requests of the previous clock minute count in proportion to its part of the
    last 60 seconds (docs/decisions/0023). Callers are stored as keyed hashes in sets of four; a
    fifth caller in a set replaces the caller with the fewest requests. With `exclusive` no other
    process uses the descriptor, and there are no locks.
    """

    def __init__(
        self, descriptor: int, *, exclusive: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.descriptor = descriptor
        self._exclusive = exclusive
        self._clock = clock
        self._memory = mmap.mmap(descriptor, _KEY_BYTES + _SETS * _SET_BYTES)
        self._set_of = lru_cache(_MAX_CACHED_CALLERS)(self._hashed)

    @classmethod
    def create(cls, *, clock: Callable[[], float] = time.monotonic) -> Self:
        """Create counters for this process only."""
        return cls(create_counters(), exclusive=True, clock=clock)

    def try_acquire(self, caller: str, limit: int) -> int:
        """Count a request of `caller` and return 0 if there were fewer than `limit` in the last
        minute. Otherwise return the seconds to wait."""
        at, hashed = self._set_of(caller)
        minute, passed = divmod(self._clock(), RATE_WINDOW_SECONDS)
        with self._exclusively(at):
            slots = list(_SLOT.iter_unpack(self._memory[at : at + _SET_BYTES]))
            index = _index(slots, hashed, int(minute))
            count, before = _counted(slots[index], int(minute), hashed)
            wait = seconds_to_wait(count, before, limit, passed)
            if not wait:
                place = at + index * _SLOT.size
                _SLOT.pack_into(self._memory, place, hashed, int(minute), count + 1, before)
        return wait

    def close(self) -> None:
        """Close the memory and its descriptor."""
        self._memory.close()
        os.close(self.descriptor)

    def _hashed(self, caller: str) -> tuple[int, int]:
        """The offset of the caller's set in the memory, and the caller's hash."""
        key = self._memory[:_KEY_BYTES]
        digest = hashlib.blake2b(caller.encode(), digest_size=_HASH.size, key=key).digest()
        number, hashed = _HASH.unpack(digest)
        return _KEY_BYTES + number % _SETS * _SET_BYTES, hashed

    def _exclusively(self, at: int) -> AbstractContextManager[None]:
        """A context in which only this process uses the set at offset `at`."""
        return _NO_LOCK if self._exclusive else self._locked(at)

    @contextmanager
    def _locked(self, at: int) -> Iterator[None]:
        """Lock the set. The kernel releases a process's POSIX locks when it ends (fcntl(2))."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, _SET_BYTES, at)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, _SET_BYTES, at)


class SharedRateLimiter:
    """`RateLimiter` of one rule, with its requests counted in `counts`."""

    def __init__(self, counts: RateCounters, rule: RateRule) -> None:
        self._counts = counts
        self._rule = rule

    async def count(self, caller: str) -> None:
        wait = self._counts.try_acquire(f"{self._rule.name} {caller}", self._rule.per_minute)
        if wait:
            raise self._rule.exceeded(wait)


def _index(slots: list[_Slot], hashed: int, minute: int) -> int:
    """The index of the caller's slot in the set, else of the slot with the fewest requests."""
    for index, slot in enumerate(slots):
        if slot[0] == hashed:
            return index
    weights = [sum(_counted(slot, minute, slot[0])) for slot in slots]
    return weights.index(min(weights))


def _counted(slot: _Slot, minute: int, hashed: int) -> tuple[int, int]:
    """The caller's requests in this clock minute, and in the previous one."""
    caller, counted_in, count, before = slot
    if caller != hashed:
        return 0, 0
    if counted_in == minute:
        return count, before
    return 0, count if counted_in == minute - 1 else 0


class SharedNotifier:
    """A `PostNotifier` over datagram sockets between worker processes.

    Create it on the event loop, with inherited descriptors; without them it notifies this process
    only. A notification to a full buffer is lost: a waiting caller polls as well."""

    def __init__(self, descriptors: WorkerDescriptors | None = None) -> None:
        self._waiting: dict[str | None, set[asyncio.Future[None]]] = {}
        self._receiver: socket.socket | None = None
        self._senders: list[socket.socket] = []
        if descriptors is not None:
            self._receiver = _opened(descriptors.receiver)
            self._senders = [_opened(sender) for sender in descriptors.senders]
            asyncio.get_running_loop().add_reader(self._receiver, self._receive, self._receiver)

    def notify(self, post_id: str) -> None:
        self._wake(post_id)
        for sender in self._senders:
            with contextlib.suppress(OSError):
                sender.send(post_id.encode())

    async def wait(self, post_id: str | None, seconds: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(post_id, set()).add(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._remove_waiter(post_id, waiter)

    def close(self) -> None:
        """Stop receiving and close the sockets."""
        if self._receiver is not None:
            asyncio.get_running_loop().remove_reader(self._receiver)
            self._receiver.close()
        for sender in self._senders:
            sender.close()

    def _receive(self, receiver: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._wake(receiver.recv(_MAX_NOTIFICATION_BYTES).decode())

    def _wake(self, post_id: str) -> None:
        for key in (post_id, None):
            for waiter in self._waiting.get(key, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _remove_waiter(self, post_id: str | None, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiting[post_id]
        waiters.discard(waiter)
        if not waiters:
            del self._waiting[post_id]


def _opened(descriptor: int) -> socket.socket:
    opened = socket.socket(fileno=descriptor)
    opened.setblocking(False)
    opened.set_inheritable(False)
    return opened


class WriterLock:
    """A fair lock for processes that write to the same SQLite database, for one thread of each.

    SQLite admits one writer. The others retry after pauses that grow to a tenth of a second
    (https://www.sqlite.org/c3ref/busy_timeout.html). So the last writer often wins again. Here
    processes wait in the kernel, and the last writer queues behind the next one.

    `descriptor` is of a file that the processes share; its content does not matter. Without it
    there are no other processes, and no lock. The kernel releases a process's locks when the
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
        self._lock(fcntl.LOCK_EX, _WRITER)
        self._lock(fcntl.LOCK_UN, _NEXT)
        try:
            yield
        finally:
            self._lock(fcntl.LOCK_UN, _WRITER)

    def _lock(self, kind: int, byte: int) -> None:
        """Change a lock. If that fails, SQLite's own lock still excludes other writers."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, kind, 1, byte)

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
