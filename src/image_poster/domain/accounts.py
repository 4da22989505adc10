"""Accounts: bans, the deletion of an account, and blocks between users."""

from typing import NamedTuple

from image_poster.domain.errors import AccountDeletedError, BannedError, invalid
from image_poster.domain.ids import rfc3339

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
