"""The account of a user: the ban, and the mark of a deletion."""

from typing import Protocol

from image_poster.adapters.dynamodb import database, schema
from image_poster.domain.accounts import Ban, Standing

DELETING = "deleting"
DELETIONS = "DELETIONS"
_BAN_ATTRIBUTES = ("ban_decision", "ban_reason", "ban_until")


class WriterCheck(Protocol):
    """Checks that a user may write."""

    async def __call__(self, user: str, *, while_banned: bool = False) -> None:
        """Raises `AccountDeletedError`, and `BannedError` unless `while_banned`."""


async def accept_writer(user: str, *, while_banned: bool = False) -> None:
    """The `WriterCheck` of stores that no user's request reaches."""


def standing_of(item: database.Item | None) -> Standing:
    """The standing in the item of an account (None: there is none)."""
    account = item or {}
    return Standing(_ban_of(account), is_deleting=DELETING in account)


def _ban_of(account: database.Item) -> Ban | None:
    if "ban_decision" not in account:
        return None
    reason, until_ms = account.get("ban_reason"), account.get("ban_until")
    return Ban(
        None if reason is None else str(reason),
        None if until_ms is None else int(until_ms),
        str(account["ban_decision"]),
    )


def banning(user: str, ban: Ban | None) -> database.Update:
    """The write of a ban, or of its end (None)."""
    attributes: database.Item = {}
    if ban is not None:
        attributes["ban_decision"] = ban.decision_id
        if ban.reason is not None:
            attributes["ban_reason"] = ban.reason
        if ban.until_ms is not None:
            attributes["ban_until"] = ban.until_ms
    removed = tuple(name for name in _BAN_ATTRIBUTES if name not in attributes)
    return database.Update(schema.account_key(user), put=attributes, remove=removed)


def beginning(user: str, now_ms: int) -> database.Update:
    """The write that marks an account as being deleted since `now_ms`, unless it is marked. The
    stream goes on with the deletion at once."""
    return database.Update(
        schema.account_key(user),
        put={
            DELETING: True,
            "begun_ms": now_ms,
            "due": DELETIONS,
            "due_at": user,
            schema.STREAM_COUNTED: False,
        },
        when=(database.Lacks(DELETING),),
    )
