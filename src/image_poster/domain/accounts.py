"""Accounts: bans, the deletion of an account, blocks between users, and a user's recent usage.

On AWS, usage is summed up from the stream. Each change may be delivered twice. Requests read it;
they add only bytes that the stream does not report, such as refused ones.
"""

from typing import NamedTuple

import msgspec

from image_poster.domain.errors import AccountDeletedError, BannedError, invalid
from image_poster.domain.ids import rfc3339
from image_poster.domain.limits import (
    RATE_WINDOW_SECONDS,
    Rates,
    check_bytes,
    check_under_way,
    day_of,
    seconds_to_wait,
    write_rule,
)

MAX_BLOCKS = 1_000
# OpenID Connect Core 1.0, section 2, `sub`.
MAX_NAME_CHARACTERS = 255


class Ban(NamedTuple):
    """A ban of a user. `until_ms` is its end (since 1970; None: for good), `decision_id` the id of
    the decision that set it."""

    reason: str | None
    until_ms: int | None
    decision_id: str

    def is_over(self, now_ms: int) -> bool:
        """True if the ban has ended."""
        return self.until_ms is not None and self.until_ms <= now_ms

    @property
    def until(self) -> str | None:
        """The end of the ban (RFC 3339), None for good."""
        return None if self.until_ms is None else rfc3339(self.until_ms)


class Standing(NamedTuple):
    """The state of an account, by which its user may write or not. `ban` may be over;
    `is_deleting` is True while the account's data is being deleted."""

    ban: Ban | None = None
    is_deleting: bool = False

    def ban_in_force(self, now_ms: int) -> Ban | None:
        """The ban, unless it is over."""
        return self.ban if self.ban is not None and not self.ban.is_over(now_ms) else None


# The standing of nearly all users.
GOOD_STANDING = Standing()


def check_may_write(standing: Standing, now_ms: int, *, while_banned: bool = False) -> None:
    """Check that a user may write. `while_banned`: the action is one that banned users may take.
    Raises `AccountDeletedError` and `BannedError`."""
    if standing.is_deleting:
        raise AccountDeletedError
    ban = standing.ban_in_force(now_ms)
    if ban is not None and not while_banned:
        raise BannedError(ban.reason, ban.until)


class Block(NamedTuple):
    """A block: `user` is the blocked user, `created_at` (RFC 3339) its beginning."""

    user: str
    created_at: str


def check_user_name(user: str) -> None:
    """Raises `ValidationFailedError` if no user can have this name."""
    if not 1 <= len(user) <= MAX_NAME_CHARACTERS or not user.isprintable() or user != user.strip():
        raise invalid(
            "user",
            f"must have 1 to {MAX_NAME_CHARACTERS} printable characters, and no space at its ends",
        )


def check_block(user: str, blocked: str) -> None:
    """Raises `ValidationFailedError` if `blocked` is no possible name, or `user` itself."""
    check_user_name(blocked)
    if user == blocked:
        raise invalid("user", "must be another user: you cannot block yourself")


_WINDOW_MS = RATE_WINDOW_SECONDS * 1000
# A second delivery of a batch follows soon, unless an operator replays the batch.
_PASSED_KEPT = 16


class Booking(msgspec.Struct, frozen=True, array_like=True):
    """An unfinished upload: its bytes, the day that they count in, and when it expires
    (milliseconds since 1970)."""

    size: int
    day: int
    until_ms: int


class Usage(msgspec.Struct, frozen=True):
    """One user's usage. `booked` is the bytes of a `day` (UTC); `under_way` holds unfinished
    uploads by post id. `passed` holds the last post ids that `count_ended_upload` counted.

    `writes` is the number in `minute`, `writes_before` in the one before. Writes are refused until
    `stopped_until` (milliseconds since 1970).
    """

    day: int = 0
    booked: int = 0
    under_way: dict[str, Booking] = {}
    passed: tuple[str, ...] = ()
    minute: int = 0
    writes: int = 0
    writes_before: int = 0
    stopped_until: int = 0


NO_USAGE = Usage()


def check_write(usage: Usage, rates: Rates, now_ms: int) -> None:
    """Check that the user may write. Raises `RateLimitedError`."""
    rule = write_rule(rates)
    if rule is not None and usage.stopped_until > now_ms:
        raise rule.exceeded(-(-(usage.stopped_until - now_ms) // 1000))


def check_upload(usage: Usage, rates: Rates, size: int, now_ms: int) -> None:
    """Check that the user may begin an upload of `size` bytes. Raises `RateLimitedError`."""
    check_under_way(rates, sum(booking.until_ms > now_ms for booking in usage.under_way.values()))
    booked = usage.booked if usage.day == day_of(now_ms) else 0
    check_bytes(rates, booked, size, now_ms)


def add_write(usage: Usage, at_ms: int, rates: Rates) -> Usage:
    """Add one write at `at_ms` (since 1970). It counts in its own minute, however late it is
    delivered. Writes older than the minute before are ignored."""
    minute, passed_ms = divmod(at_ms, _WINDOW_MS)
    if minute < usage.minute - 1:
        return usage
    if minute < usage.minute:
        return msgspec.structs.replace(usage, writes_before=usage.writes_before + 1)
    writes, before = usage.writes, usage.writes_before
    if minute > usage.minute:
        writes, before = 0, writes if minute == usage.minute + 1 else 0
    return msgspec.structs.replace(
        usage,
        minute=minute,
        writes=writes + 1,
        writes_before=before,
        stopped_until=max(
            usage.stopped_until, at_ms + _wait_ms(rates, writes + 1, before, passed_ms)
        ),
    )


def _wait_ms(rates: Rates, writes: int, before: int, passed_ms: int) -> int:
    most = rates.writes_per_minute
    return 0 if most is None else 1000 * seconds_to_wait(writes, before, most, passed_ms / 1000)


def add_bytes(usage: Usage, size: int, day: int) -> Usage:
    """Add `size` bytes (negative: subtract) to that day's usage. A day before the current one is
    ignored."""
    if day < usage.day:
        return usage
    booked = usage.booked if day == usage.day else 0
    return msgspec.structs.replace(usage, day=day, booked=max(0, booked + size))


def add_upload(usage: Usage, post_id: str, booking: Booking, rates: Rates) -> Usage:
    """Add an unfinished upload; repeating it changes only its size. At most twice the quota are
    stored, since the user is refused by then."""
    former = usage.under_way.get(post_id)
    most = rates.uploads_under_way
    if former is None and most is not None and len(usage.under_way) >= 2 * most:
        return usage
    if former is not None:
        booking = msgspec.structs.replace(former, size=booking.size)
    changed = add_bytes(usage, booking.size - (former.size if former else 0), booking.day)
    return msgspec.structs.replace(changed, under_way={**usage.under_way, post_id: booking})


def remove_upload(usage: Usage, post_id: str, counted_bytes: int | None) -> Usage:
    """Remove an unfinished upload, of which `counted_bytes` still count (None: all). A no-op for an
    unknown one."""
    booking = usage.under_way.get(post_id)
    if booking is None:
        return usage
    released = 0 if counted_bytes is None else booking.size - counted_bytes
    under_way = {id_: other for id_, other in usage.under_way.items() if id_ != post_id}
    return msgspec.structs.replace(add_bytes(usage, -released, booking.day), under_way=under_way)


def count_ended_upload(usage: Usage, post_id: str, booking: Booking) -> Usage:
    """Count an upload that was already complete when the stream delivered its beginning. A no-op
    for one that was counted so before."""
    if post_id in usage.under_way:
        return remove_upload(usage, post_id, booking.size)
    if post_id in usage.passed:
        return usage
    known = (*usage.passed, post_id)[-_PASSED_KEPT:]
    changed = add_bytes(usage, booking.size, booking.day)
    return msgspec.structs.replace(changed, passed=known)


def remove_expired(usage: Usage, now_ms: int) -> Usage:
    """Drop expired uploads. Their bytes need not be subtracted: uploads expire after a day, so the
    bytes count in an earlier day."""
    under_way = {
        id_: booking for id_, booking in usage.under_way.items() if booking.until_ms > now_ms
    }
    return msgspec.structs.replace(usage, under_way=under_way)
