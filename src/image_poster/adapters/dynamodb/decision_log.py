"""The log of decisions in DynamoDB: all decisions, and those about each user's content and account.
For each subject, it has the newest decision and the one in force."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from image_poster.adapters.dynamodb import database, entries, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.domain.moderation import (
    DISMISSED,
    Action,
    Appeal,
    AppealedDecision,
    Decision,
    Subject,
)

LOG = "DECISIONS"
OWNED = "DECISION#"
STATE = "STATE#"


def logged_key(decision_id: str) -> database.Key:
    """The key of a decision in the log."""
    return database.Key(LOG, decision_id)


def owned_key(owner: str, decision_id: str) -> database.Key:
    """The key of a decision about this user's content or account, with its appeal."""
    return database.Key(schema.user_partition(owner), f"{OWNED}{decision_id}")


def state_key(subject: Subject) -> database.Key:
    """The key of the newest decisions about a subject."""
    return database.Key(entries.subject_partition(subject), f"{STATE}{subject.comment_id or ''}")


def decision_of(document: database.Value) -> Decision:
    """Decode a stored decision."""
    return msgspec.json.decode(str(document), type=Decision)


class SubjectDecisions(NamedTuple):
    """The newest decision about a subject, and the newest that set its state; `item` is the stored
    one."""

    item: database.Item | None
    last: Decision | None = None
    in_force: Decision | None = None


async def find_decisions(table: BotoTable, subject: Subject) -> SubjectDecisions:
    """The decisions about a subject."""
    item = await table.get(state_key(subject))
    if item is None:
        return SubjectDecisions(None)
    in_force = decision_of(item["in_force"]) if "in_force" in item else None
    return SubjectDecisions(item, decision_of(item["last"]), in_force)


def logging(decision: Decision, former: SubjectDecisions) -> list[database.Write]:
    """The writes that add a decision with its owner to the log, if no other one about its subject
    has come since `former`."""
    document = msgspec.json.encode(decision).decode()
    keys = [logged_key(decision.id)]
    if decision.owner:
        keys.append(owned_key(decision.owner, decision.id))
    put = {"last": document, **({"in_force": document} if decision.sets_state else {})}
    state = database.Update(
        state_key(decision.subject),
        put=put,
        add={"version": 1},
        when=(database.unchanged(former.item),),
    )
    once = (database.Lacks(database.PK),)
    return [state, *(database.Update(key, put={"doc": document}, when=once) for key in keys)]


async def logging_of(table: BotoTable, decision: Decision | None) -> list[database.Write]:
    """The writes that log a decision; none without one."""
    if decision is None:
        return []
    return logging(decision, await find_decisions(table, decision.subject))


async def appealed(table: BotoTable, owned: Iterable[database.Item]) -> list[AppealedDecision]:
    """The decisions of these items of `owned_key`, each with its appeal."""
    items = list(owned)
    keys = {index: _appeal_key(item) for index, item in enumerate(items) if "appealed_at" in item}
    closed = await entries.closing_actions(table, keys.values())
    return [
        AppealedDecision(
            decision_of(item["doc"]),
            _appeal_of(item, closed.get(keys[index])) if index in keys else None,
        )
        for index, item in enumerate(items)
    ]


def _appeal_key(item: database.Item) -> database.Key:
    return entries.closed_key(decision_of(item["doc"]).subject, str(item["appeal_entry"]))


def _appeal_of(item: database.Item, closed_by: Action | None) -> Appeal:
    """The appeal: dismissed only by an action of that name, for any other decision grants it."""
    outcome = DISMISSED if closed_by is Action.DISMISS else None
    return Appeal(str(item.get("appeal_text", "")), str(item["appealed_at"]), outcome)
