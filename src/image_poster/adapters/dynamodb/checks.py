"""The work of posts that no event has finished: their failures, their scheduled checks, and the
cursor of the full reconciliation."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

from image_poster.adapters.dynamodb import database, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.domain.posts import PostStatus
from image_poster.ports import Clock

_MAX_ERROR_CHARACTERS = 1000
_CHECKS_AT_A_TIME = 100
_CURSOR_KEY = database.Key("HEALING", "HEALING")


class DynamoFailureCounter:
    """Counts a post's image work failures that are the service's fault, in attributes of the
    post."""

    def __init__(self, table: BotoTable) -> None:
        self._table = table

    async def count(self, post_id: str, error: str) -> int:
        """Count a failure; return the total. 0 if the post is gone."""
        failure = database.Update(
            schema.post_key(post_id),
            put={"error": error[:_MAX_ERROR_CHARACTERS]},
            add={"failures": 1},
            when=(database.Has("head"),),
        )
        try:
            return int((await self._table.write(failure))["failures"])
        except database.ConditionFailedError:
            return 0

    async def clear(self, post_id: str) -> None:
        """Reset the count. A no-op if the post is gone."""
        clearing = database.Update(
            schema.post_key(post_id), remove=("failures", "error"), when=(database.Has("head"),)
        )
        with suppress(database.ConditionFailedError):
            await self._table.write(clearing)


class DuePost(NamedTuple):
    """A post with an overdue event: its status (None: deleted), and the time since when (ms since
    1970)."""

    post_id: str
    status: PostStatus | None
    since_ms: int


class DynamoScheduledChecks:
    """Scheduled checks of posts that are not at rest, to find lost events, by a sparse index. It
    also returns checks that are due within the next `ahead_ms` milliseconds."""

    def __init__(self, table: BotoTable, clock: Clock, *, ahead_ms: int = 0) -> None:
        self._table = table
        self._clock = clock
        self._ahead_ms = ahead_ms

    async def due(self) -> AsyncIterator[DuePost]:
        """Posts whose check is due: they await their image, are `processing`, or were deleted and
        not purged."""
        for part in range(schema.DUE_PARTS):
            for key in await self._keys(schema.due_key(part)):
                # The index is a moment behind; the item has the current state.
                item = await self._table.get(key)
                if item is not None and "due" in item:
                    status = None if schema.is_tombstone(item) else PostStatus(str(item["status"]))
                    yield DuePost(str(item["id"]), status, int(item["since_ms"]))

    async def reschedule(self, post_id: str, at_ms: int | None) -> None:
        """Set the time of the next check (ms since 1970); None: never. A no-op for a post that is
        at rest."""
        change = database.Update(
            schema.post_key(post_id),
            put={} if at_ms is None else schema.due_attributes(post_id, at_ms),
            remove=schema.DUE_ATTRIBUTES if at_ms is None else (),
            when=(database.Has("due"),),
        )
        with suppress(database.ConditionFailedError, database.ConflictError):
            await self._table.write(change)

    async def _keys(self, partition: str) -> list[database.Key]:
        """All due keys of a partition, read before any check: a check changes the index."""
        keys: list[database.Key] = []
        before: str | None = schema.due_at(self._clock.now_ms() + self._ahead_ms)
        while before is not None:
            query = database.Query(partition, _CHECKS_AT_A_TIME, before, "due", ("due", "due_at"))
            items, before = await self._table.query(query)
            keys += map(schema.key_of, items)
        return keys


class ReconciliationCursor(NamedTuple):
    """The state of a full reconciliation: its position (None: at rest), its start, and the end of
    its reservation (ms since 1970)."""

    after: str | None
    started_ms: int
    until_ms: int


FIRST_CURSOR = ReconciliationCursor(None, 0, 0)


def _cursor_item(cursor: ReconciliationCursor) -> database.Item:
    """The item of the full reconciliation."""
    attributes = cursor._asdict().items()
    return schema.keyed(
        _CURSOR_KEY, {name: value for name, value in attributes if value is not None}
    )


def _cursor_of(item: database.Item) -> ReconciliationCursor:
    """The state in an item of `_cursor_item`."""
    after = item.get("after")
    position = None if after is None else str(after)
    return ReconciliationCursor(position, int(item["started_ms"]), int(item["until_ms"]))


class DynamoReconciliationCursorStore:
    """Stores the position of a full reconciliation in one item, and lets only one run at a time."""

    def __init__(self, table: BotoTable) -> None:
        self._table = table

    async def read(self) -> ReconciliationCursor:
        """The last stored state; if there is none, that of a walk at rest that began at 0."""
        item = await self._table.get(_CURSOR_KEY)
        return FIRST_CURSOR if item is None else _cursor_of(item)

    async def reserve(self, last: ReconciliationCursor, until_ms: int) -> bool:
        """Reserve the walk for this caller until `until_ms` (since 1970). False, with nothing
        changed, if the stored state is no longer `last`."""
        unchanged: database.Condition = database.Lacks(database.PK)
        if last != FIRST_CURSOR:
            unchanged = database.HasValue("until_ms", last.until_ms)
        reserved = _cursor_item(last._replace(until_ms=until_ms))
        try:
            await self._table.write(database.Put(reserved, (unchanged,)))
        except (database.ConditionFailedError, database.ConflictError):
            return False
        return True

    async def store(self, cursor: ReconciliationCursor) -> None:
        """Store the state. Only the caller that reserved the walk may do this."""
        await self._table.write(database.Put(_cursor_item(cursor)))
