"""How often callers came within the last minute, counted in memory that all processes of one server
share. It ends with the last of them, and is never a file that somebody could find.

The window slides: what was counted in the clock's minute before this one counts as far as that
minute still reaches into the last 60 seconds (docs/decisions/0023). Callers are kept as keyed
hashes in sets of four; where a fifth comes into a set, the one who came least is forgotten.
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
    """The counts of one server. `descriptor` is what other processes attach to; `exclusive` says
    that there are none, and nothing needs to be locked."""

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
        """Empty ones. The key is secret: whoever knows it could choose addresses that push others
        out of their set."""
        descriptor = anonymous_file("image-poster-rates")
        os.ftruncate(descriptor, _KEY_BYTES + _SETS * _SET_BYTES)
        os.pwrite(descriptor, secrets.token_bytes(_KEY_BYTES), 0)
        return cls(descriptor, exclusive=exclusive, clock=clock)

    def try_acquire(self, caller: str, limit: int) -> int:
        """Count one more of `caller`, if there were fewer than `limit` in the last minute: 0; else
        after how many seconds there will be fewer."""
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
        """Let go of the memory."""
        self._memory.close()
        os.close(self.descriptor)

    def _hashed(self, caller: str) -> tuple[int, int]:
        """Where the caller's set is, and what it is known as there."""
        key = self._memory[:_KEY_BYTES]
        digest = hashlib.blake2b(caller.encode(), digest_size=_HASH.size, key=key).digest()
        number, hashed = _HASH.unpack(digest)
        return _KEY_BYTES + number % _SETS * _SET_BYTES, hashed

    def _alone(self, at: int) -> AbstractContextManager[None]:
        """While nobody else touches the set."""
        return _NOBODY_ELSE if self._exclusive else self._locked(at)

    @contextmanager
    def _locked(self, at: int) -> Iterator[None]:
        """POSIX locks are each process's own and go with it, however it ends (fcntl(2))."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, _SET_BYTES, at)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, _SET_BYTES, at)


class SharedRateLimiter:
    """`RateLimiter`: by one rule, in `counts`."""

    def __init__(self, counts: RateCounters, rule: RateRule) -> None:
        self._counts = counts
        self._rule = rule

    async def count(self, caller: str) -> None:
        wait = self._counts.try_acquire(f"{self._rule.name} {caller}", self._rule.per_minute)
        if wait:
            raise self._rule.exceeded(wait)


def _index(slots: list[_Slot], hashed: int, minute: int) -> int:
    """Where the caller is in their set, or may be."""
    for index, slot in enumerate(slots):
        if slot[0] == hashed:
            return index
    weights = [sum(_counted(slot, minute, slot[0])) for slot in slots]
    return weights.index(min(weights))


def _counted(slot: _Slot, minute: int, hashed: int) -> tuple[int, int]:
    """How often the caller came in this minute, and in the one before."""
    caller, counted_in, count, before = slot
    if caller != hashed:
        return 0, 0
    if counted_in == minute:
        return count, before
    return 0, count if counted_in == minute - 1 else 0


def anonymous_file(name: str) -> int:
    """A file without a name: what has none is gone with those who have it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
