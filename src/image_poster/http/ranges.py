"""Byte ranges (RFC 9110 section 14) and conditional requests (section 13), as pure functions."""

import re
from typing import NamedTuple

from image_poster.domain.errors import RangeNotSatisfiableError

_SINGLE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE | re.ASCII)
# More digits are behind the end of any file; Python refuses to read some thousands of them.
_MAX_DIGITS = 18


class ByteRange(NamedTuple):
    """`length` bytes from `start`."""

    start: int
    length: int


def requested_range(header: str | None, size: int) -> ByteRange | None:
    """Parse a Range header for a file of `size` bytes; None to send the whole file.

    Other units, several ranges and malformed ones are ignored, as section 14.2 allows. Raises
    `RangeNotSatisfiableError` when the range begins after the end.
    """
    match = _SINGLE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(_position(last), size)
        start = size - length
    else:
        start, end = _position(first), _position(last) if last else size - 1
        if last and end < start:
            return None
        length = min(end, size - 1) - start + 1
    if length <= 0 or start >= size:
        raise RangeNotSatisfiableError(size)
    return ByteRange(start, length)


def _position(digits: str) -> int:
    """Parse a number; one with too many digits becomes `10**_MAX_DIGITS`."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MAX_DIGITS else 10**_MAX_DIGITS


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """True if the client has this version: weak comparison, section 13.1.2. `etag` has its quotes,
    and `W/` if it is weak."""
    return matching_etag(if_none_match, etag) is not None


def matching_etag(if_none_match: str | None, etag: str) -> str | None:
    """The client's ETag that matches `etag`; None if none does. It may be weak where `etag` is
    strong: the same representation, compressed."""
    if if_none_match is None:
        return None
    known = [item.strip() for item in if_none_match.split(",")]
    if "*" in known or etag in known:
        return etag
    strong = etag.removeprefix("W/")
    return next((tag for tag in known if tag.removeprefix("W/") == strong), None)
