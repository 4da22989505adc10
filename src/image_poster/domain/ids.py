"""Identifiers and times.

An id is a ULID (https://github.com/ulid/spec), 26 characters that sort by the time they were made.
Those made by one process within one millisecond still sort in the order of their making, so "newest
first" is "greatest id first".
"""

import re
from datetime import datetime, timedelta

from ulid import ULID

_CANONICAL = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC throughout; naive, since "Z" is written by hand

PATTERN = f"^{_CANONICAL.pattern}$"


def new_id() -> str:
    """A new ULID in its canonical, upper-case form."""
    return str(ULID())


def is_id(text: str) -> bool:
    """Whether `text` can be an id at all; what cannot is never looked up, nor made into a path."""
    return _CANONICAL.fullmatch(text) is not None


def milliseconds_of(id_: str) -> int:
    """When an id was made, since 1970."""
    return int(ULID.from_str(id_).milliseconds)


def rfc3339(milliseconds: int) -> str:
    """`milliseconds` since 1970 as the contract writes times: RFC 3339, UTC, milliseconds, `Z`;
    such texts sort as the times do."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds") + "Z"
