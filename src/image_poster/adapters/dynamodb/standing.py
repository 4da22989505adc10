"""The account of a user: the ban, and the mark of a deletion."""

from image_poster.adapters.dynamodb import database, schema
from image_poster.domain.accounts import Ban, Standing

DELETING = "deleting"
_BAN_ATTRIBUTES = ("ban_decision", "ban_reason", "ban_until")


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
