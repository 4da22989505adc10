"""Counters of requests per caller and minute, in memory that all processes of one server share. The
memory has no file name and ends with the last process.

The window slides: requests of the previous clock minute count in proportion to its part of the last
60 seconds (docs/decisions/0023). Callers are stored as keyed hashes in sets of four; a fifth caller
in a set replaces the caller with the fewest requests.
"""

import fcntl
import hashlib
import mmap
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from struct import Struct
from typing import Self

from image_poster.domain.limits import RATE_WINDOW_SECONDS, RateRule, seconds_to_wait

_KEY_BYTES = 64
_WAYS = 4
_SETS = 16_384
_MAX_PLACES = 8192
# The hash of a caller, the number of the minute, how often they came in it, and in the one before.
_SLOT = Struct("<QIII4x")
_SET_BYTES = _WAYS * _SLOT.size
_HASH = Struct("<QQ")
_NOBODY_ELSE = nullcontext()


_Slot = tuple[int, int, int, int]


class RateCounters:
    """The counters of one server. Other processes attach to `descriptor`. With `exclusive` there
    are no other processes, and no locks."""

    def __init__(
        self, descriptor: int, *, exclusive: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.descriptor = descriptor
        self._exclusive = exclusive
        self._clock = clock
        self._memory = mmap.mmap(descriptor, _KEY_BYTES + _SETS * _SET_BYTES)
        self._place = lru_cache(_MAX_PLACES)(self._hashed)

    @classmethod
    def create(cls, *, exclusive: bool = True, clock: Callable[[], float] = time.monotonic) -> Self:
        """Create empty counters with a secret key: with it, an attacker could choose addresses that
        push other callers out of their sets."""
        descriptor = anonymous_file("image-poster-rates")
        os.ftruncate(descriptor, _KEY_BYTES + _SETS * _SET_BYTES)
        os.pwrite(descriptor, secrets.token_bytes(_KEY_BYTES), 0)
        return cls(descriptor, exclusive=exclusive, clock=clock)

    def try_acquire(self, caller: str, limit: int) -> int:
        """Count a request of `caller` and return 0 if there were fewer than `limit` in the last
        minute. Otherwise return the seconds to wait."""
        at, hashed = self._place(caller)
        minute, passed = divmod(self._clock(), RATE_WINDOW_SECONDS)
        with self._alone(at):
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

    def _alone(self, at: int) -> AbstractContextManager[None]:
        """A context in which only this process uses the set at offset `at`."""
        return _NOBODY_ELSE if self._exclusive else self._locked(at)

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


def anonymous_file(name: str) -> int:
    """The descriptor of a file without a name, which ends when all its descriptors are closed."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
