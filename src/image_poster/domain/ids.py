"""Identifiers and times.

An id is a ULID (https://github.com/ulid/spec): 26 characters that sort by creation time. Ids made
by one process within one millisecond also sort in the order of creation. So "newest first" is
"greatest id first".
"""

import os
import re
from datetime import UTC, datetime, timedelta

from ulid import ULID

_CANONICAL = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC throughout; naive, since "Z" is written by hand

PATTERN = f"^{_CANONICAL.pattern}$"

# No clock that is right shows a time before this program was written, or after the year 9998.
EARLIEST_MS = 1_764_000_000_000
MAX_MS = 253_370_764_800_000
_RANDOM_BYTES = 10
_RANDOM_BITS = 8 * _RANDOM_BYTES
_DAY_MS = 24 * 3600 * 1000
_SECOND_YEAR = "1971"


def new_id() -> str:
    """A new ULID in its canonical, upper-case form, by the wall clock."""
    return str(ULID())


class IdSequence:
    """Makes strictly increasing ids, even if the clock goes back."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now_ms: int) -> str:
        """The next id, in its canonical form. Its time is `now_ms` (since 1970), or that of the
        last id if that is later."""
        fresh = now_ms << _RANDOM_BITS | int.from_bytes(os.urandom(_RANDOM_BYTES))
        is_later = now_ms > self._last >> _RANDOM_BITS
        self._last = fresh if is_later else self._last + 1
        return str(ULID.from_int(self._last))


def is_id(text: str) -> bool:
    """Return True if `text` has the form of an id. Other texts are never looked up, nor made into a
    path."""
    return _CANONICAL.fullmatch(text) is not None


def milliseconds_of(id_: str) -> int:
    """The creation time of an id, in milliseconds since 1970."""
    return int(ULID.from_str(id_).milliseconds)


def least_id(milliseconds: int) -> str:
    """The smallest id of that time (milliseconds since 1970)."""
    return str(ULID.from_int(max(0, milliseconds) << _RANDOM_BITS))


def is_over(begun_ms: int, lifetime_ms: int, *, service_ms: int, now_ms: int) -> bool:
    """Return True if a lifetime has ended by the service clock, and the wall clock does not
    contradict. By the wall clock, the lifetime has not begun yet or has ended too. A wall clock in
    the first lifetime of 1970 may not be set yet: nothing ends by it."""
    if now_ms < lifetime_ms or begun_ms > service_ms - lifetime_ms:
        return False
    return not now_ms - lifetime_ms < begun_ms <= now_ms


def plausible_times(now_ms: int) -> tuple[str, str]:
    """The first and the last time (RFC 3339) that a right clock can have stored: not in 1970, and
    at most a day ahead."""
    return _SECOND_YEAR, rfc3339(now_ms + _DAY_MS)


def corrected_time(text: str, instead_ms: int, now_ms: int) -> str:
    """A stored time (RFC 3339). One that is not plausible becomes `instead_ms`, or `now_ms` if that
    is earlier."""
    first, last = plausible_times(now_ms)
    return text if first <= text <= last else rfc3339(min(instead_ms, now_ms))


def rfc3339(milliseconds: int) -> str:
    """`milliseconds` since 1970 as the contract writes times: RFC 3339, UTC, milliseconds, `Z`;
    such texts sort as the times do."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds") + "Z"


def parse_rfc3339(text: str) -> int | None:
    """The milliseconds since 1970 of a time with its offset (RFC 3339); None for any other text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    milliseconds = round(moment.astimezone(UTC).timestamp() * 1000)
    return milliseconds if 0 <= milliseconds <= MAX_MS else None
