"""Limits on input, and the quotas and rate limits of one caller. GET /limits shows them.

Also the cleaning of users' texts before they are stored. A terminal obeys control characters
(ECMA-48), so they are escaped there."""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import msgspec

from image_poster.domain.errors import RateLimitedError, invalid

FEED_PAGE_DEFAULT = 10
FEED_PAGE_MAX = 100
# The bytes of a page as sent, and the share of its entries as stored. The rest is for counts,
# commas, and the address before each image's path.
PAGE_MAX_BYTES = 1_500_000
PAGE_ENTRIES_BYTES = 1_400_000
LATEST_DEFAULT = 2
LATEST_KEPT = 10
# The bytes of a post's latest comments, as stored; there is always one comment.
MAX_LATEST_BYTES = 16 * 1024
WAIT_MAX_SECONDS = 20
UPLOAD_KEPT_MS = 24 * 3600 * 1000
UPLOAD_PIECE_BYTES = 512 * 1024
MODERATION_TEXT_CHARACTERS = 1_000
FAILED_KEPT_DAYS = 30
RATE_WINDOW_SECONDS = 60
_DAY_MS = 24 * 3600 * 1000
# The end of another upload is not known: the client tries again after this time.
_UNDER_WAY_RETRY_SECONDS = 60

# Each kind of line break that a word processor or an old system writes (Unicode Standard Annex 14).
_LINE_BREAK = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
# C0 but tab and newline, DEL, and C1: none has a meaning in a caption and some garble terminals.
_DROPPED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
# Categories (Unicode Standard, section 4.5) of invisible characters: control, format (such as
# zero-width and bidirectional ones), separators, and marks that need a letter.
_BLANK_CATEGORIES = {"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"}
# Letters and symbols that are drawn as nothing: Hangul fillers and the Braille blank.
_BLANK_CHARACTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
# C0, DEL, C1, and the line and paragraph separators, which would begin another line of a log.
_TERMINAL_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Entry = TypeVar("Entry")


def take_page(
    entries: Iterable[Entry], limit: int, size: Callable[[Entry], int]
) -> tuple[list[Entry], bool]:
    """The first `limit` entries, or as many as fit into a page, but at least one; and True if there
    are more. `size` returns an entry's bytes."""
    shown, bytes_left = list[Entry](), PAGE_ENTRIES_BYTES
    for entry in entries:
        bytes_left -= size(entry)
        if shown and (bytes_left < 0 or len(shown) == limit):
            return shown, True
        shown.append(entry)
    return shown, False


class Rates(msgspec.Struct, frozen=True):
    """Quotas and rate limits of one caller; None is no limit. Requests are counted by address, the
    rest by user. A day is one of UTC."""

    writes_per_minute: int | None = None
    bytes_per_day: int | None = None
    uploads_under_way: int | None = None
    requests_per_minute: int | None = None


# For a service that strangers reach.
PUBLIC_RATES = Rates(
    writes_per_minute=120,
    bytes_per_day=5_000_000_000,
    uploads_under_way=50,
    requests_per_minute=1_200,
)


class Limits(msgspec.Struct, frozen=True):
    """The limits of one running service; the defaults are the contract's.

    `image_memory` is the total bytes of all decoders, so one image can use no more.
    `multipart_bytes` and `piece_bytes` limit one request, where that is less than an image may
    have. `rates_exact` is True if no request beyond `rates` is accepted. `rules_url` and `contact`
    tell users the operator's rules and address.
    """

    image_bytes: int = 100_000_000
    image_pixels: int = 100_000_000
    image_memory: int = 2_000_000_000
    caption_characters: int = 5_000
    alt_characters: int = 1_500
    comment_characters: int = 2_000
    latest_kept: int = LATEST_KEPT
    multipart_bytes: int | None = None
    piece_bytes: int | None = None
    rates: Rates = Rates()
    rates_exact: bool = True
    rules_url: str | None = None
    contact: str | None = None


class RateRule(NamedTuple):
    """A limit of `per_minute` `things` a minute. `name` is the limit's name in GET /limits."""

    name: str
    per_minute: int
    things: str

    def exceeded(self, wait: int) -> RateLimitedError:
        """The error for a caller that has reached the limit; `wait` is in seconds."""
        return RateLimitedError(
            f"You have reached the limit of {self.per_minute} {self.things} a minute. "
            f"Try again in {wait} s.",
            limit=self.name,
            quota=self.per_minute,
            window=RATE_WINDOW_SECONDS,
            wait=wait,
        )


def write_rule(rates: Rates) -> RateRule | None:
    """The rate limit on one user's writes; None if there is none."""
    most = rates.writes_per_minute
    return None if most is None else RateRule("writes_per_minute", most, "writes")


def request_rule(rates: Rates) -> RateRule | None:
    """The rate limit on one address's requests; None if there is none."""
    most = rates.requests_per_minute
    if most is None:
        return None
    return RateRule("requests_per_minute", most, "requests from one address")


def seconds_to_wait(count: int, before: int, limit: int, passed: float) -> int:
    """Seconds until one more is within `limit` (0: now). `count` is this minute's number, `passed`
    seconds into it. Of `before`, the number in the minute before, the share counts that is less
    than a minute old."""
    share_left = 1 - passed / RATE_WINDOW_SECONDS
    if count + before * share_left + 1 <= limit:
        return 0
    if count < limit:
        # Before this minute ends, enough of the one before will have gone by.
        until = RATE_WINDOW_SECONDS * (1 - (limit - 1 - count) / before)
    else:
        until = RATE_WINDOW_SECONDS * (2 - (limit - 1) / count)
    return max(1, math.ceil(until - passed))


def day_of(now_ms: int) -> int:
    """The number of the day, in UTC, since 1970."""
    return now_ms // _DAY_MS


def check_bytes(rates: Rates, booked: int, size: int, now_ms: int) -> None:
    """Check that a user with `booked` bytes today may reserve `size` more. Raises
    `RateLimitedError`."""
    most = rates.bytes_per_day
    if most is None or booked + size <= most:
        return
    wait = math.ceil(((day_of(now_ms) + 1) * _DAY_MS - now_ms) / 1000)
    raise RateLimitedError(
        f"This image of {size} bytes exceeds your limit of {most} bytes a day (UTC): images and "
        f"unfinished uploads of today already count {booked} bytes. Delete unfinished uploads that "
        f"you do not need, or try again in {wait} s.",
        limit="bytes_per_day",
        quota=most,
        window=_DAY_MS // 1000,
        wait=wait,
    )


def check_under_way(rates: Rates, under_way: int) -> None:
    """Check that a user with `under_way` unfinished uploads may begin one more. Raises
    `RateLimitedError`."""
    most = rates.uploads_under_way
    if most is not None and under_way >= most:
        raise RateLimitedError(
            f"You have reached the limit of {most} unfinished uploads. Finish some, or delete them "
            "with DELETE.",
            limit="uploads_under_way",
            quota=most,
            window=0,
            wait=_UNDER_WAY_RETRY_SECONDS,
        )


def clean(field: str, text: str, *, longest: int) -> str:
    """Trim `text`, turn each line break into LF, and drop other control characters but tab.

    Raises `ValidationFailedError` naming `field` for more than `longest` characters after that, and
    as `check_characters` does.
    """
    check_characters(field, text)
    trimmed = _DROPPED.sub("", _LINE_BREAK.sub("\n", text)).strip()
    if len(trimmed) > longest:
        raise invalid(field, f"must have at most {longest} characters, not {len(trimmed)}")
    return trimmed


def check_characters(field: str, text: str) -> None:
    """Refuse NUL and half of a surrogate pair (no character by itself: Unicode Standard, section
    3.8). Raises `ValidationFailedError` naming `field` and the character."""
    match = _UNUSABLE.search(text)
    if match is None:
        return
    name = "NUL" if match[0] == "\0" else "half of a surrogate pair"
    raise invalid(
        field, f"contains U+{ord(match[0]):04X}, {name}; remove it and send the text again"
    )


def clean_required(field: str, text: str, *, longest: int) -> str:
    """Clean as `clean` does; also refuse a text without visible characters."""
    trimmed = clean(field, text, longest=longest)
    if all(map(_is_blank, trimmed)):
        raise invalid(field, "must not be empty")
    return trimmed


def _is_blank(character: str) -> bool:
    return character in _BLANK_CHARACTERS or unicodedata.category(character) in _BLANK_CATEGORIES


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""`text` with control characters as Python writes them, such as \x1b, but those to `keep`."""
    return _TERMINAL_CONTROL.sub(
        lambda match: match[0] if match[0] in keep else _escape(match[0]), text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
