"""The standing of users: bans, accounts that are being deleted, and blocks between users. Each
transaction that adds content checks it, so no write slips in after a ban or a deletion has begun.

Most users have no row in `accounts`. Functions with the argument `connection` run within a
transaction.
"""

import sqlite3
from typing import Any

from image_poster.adapters.sqlite.events import add_event
from image_poster.domain.accounts import GOOD_STANDING, Ban, Standing, check_may_write
from image_poster.domain.errors import AccountDeletedError, BlockedError
from image_poster.domain.events import Event, EventType
from image_poster.domain.idempotency import fingerprint
from image_poster.domain.ids import milliseconds_of

FIND_STANDING = "SELECT deleting, ban_decision, ban_reason, ban_until FROM accounts WHERE user = ?"
_FIND_BLOCK = (
    "SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2 "
    "UNION ALL SELECT 1 FROM blocks WHERE user = ?2 AND blocked = ?1 LIMIT 1"
)
_SET_BAN = (
    "INSERT INTO accounts (user, ban_decision, ban_reason, ban_until) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET ban_decision = excluded.ban_decision, "
    "ban_reason = excluded.ban_reason, ban_until = excluded.ban_until"
)
_END_BAN = (
    "UPDATE accounts SET ban_decision = NULL, ban_reason = NULL, ban_until = NULL WHERE user = ?"
)
_BEGIN_DELETION = (
    "INSERT INTO accounts (user, deleting, deleting_since) VALUES (?, 1, ?) "
    "ON CONFLICT DO UPDATE SET deleting = 1, deleting_since = excluded.deleting_since "
    "WHERE deleting = 0"
)
_END_DELETION = "UPDATE accounts SET deleting = 0 WHERE user = ?"
_DELETED_AT = "SELECT kept_at FROM deleted_accounts WHERE hash = ?"
_DROP_GOOD_STANDING = (
    "DELETE FROM accounts WHERE user = ? AND deleting = 0 AND ban_decision IS NULL"
)


def decoded_standing(row: tuple[Any, ...] | None) -> Standing:
    """The standing in a row of `FIND_STANDING`; None: the user has no row."""
    if row is None:
        return GOOD_STANDING
    deleting, decision_id, reason, until_ms = row
    ban = None if decision_id is None else Ban(reason, until_ms, decision_id)
    return Standing(ban, bool(deleting))


def find_standing(connection: sqlite3.Connection, user: str) -> Standing:
    """The standing of a user."""
    return decoded_standing(connection.execute(FIND_STANDING, (user,)).fetchone())


def check_standing(
    connection: sqlite3.Connection, user: str, now_ms: int, *, while_banned: bool = False
) -> None:
    """Check that the user may write at the wall clock's time `now_ms`. `while_banned`: the action
    is one that banned users may take. Raises `BannedError` and `AccountDeletedError`."""
    check_may_write(find_standing(connection, user), now_ms, while_banned=while_banned)


def check_unblocked(connection: sqlite3.Connection, author: str, creator: str) -> None:
    """Check that neither the author of a comment nor the post's creator blocks the other. Raises
    `BlockedError`."""
    if author != creator and connection.execute(_FIND_BLOCK, (author, creator)).fetchone():
        raise BlockedError


def check_began_after_deletion(connection: sqlite3.Connection, user: str, post_id: str) -> None:
    """Check that a new post's id is later than the last deletion of this account. An earlier id
    belongs to a request that began before the deletion ended. Raises `AccountDeletedError`."""
    row = connection.execute(_DELETED_AT, (_name_hash(user),)).fetchone()
    if row is not None and milliseconds_of(post_id) <= row[0]:
        raise AccountDeletedError


def _name_hash(user: str) -> bytes:
    return fingerprint(user.encode())


def set_ban(connection: sqlite3.Connection, user: str, ban: Ban) -> None:
    """Store a ban; it replaces a former one."""
    connection.execute(_SET_BAN, (user, ban.decision_id, ban.reason, ban.until_ms))


def end_ban(connection: sqlite3.Connection, user: str) -> None:
    """Remove the user's ban."""
    connection.execute(_END_BAN, (user,))
    connection.execute(_DROP_GOOD_STANDING, (user,))


def begin_deletion(connection: sqlite3.Connection, user: str, service_ms: int) -> None:
    """Mark the account as being deleted since this time of the service clock, unless it is already
    marked."""
    if connection.execute(_BEGIN_DELETION, (user, service_ms)).rowcount:
        add_event(connection, Event(EventType.USER_DELETED, user=user))


def end_deletion(connection: sqlite3.Connection, user: str, service_ms: int) -> None:
    """Remove the mark of an account whose data is gone at this time of the service clock. A ban
    stays, and a hash of the name."""
    connection.execute(_END_DELETION, (user,))
    connection.execute(
        "INSERT OR REPLACE INTO deleted_accounts (hash, kept_at) VALUES (?, ?)",
        (_name_hash(user), service_ms),
    )
    connection.execute(_DROP_GOOD_STANDING, (user,))
