"""Scheduled checks of posts, and the cursor of the full reconciliation."""

from collections.abc import AsyncIterator
from contextlib import suppress

from image_poster.adapters.dynamodb import database, schema
from image_poster.adapters.dynamodb.posts import is_there
from image_poster.domain.posts import PostStatus
from image_poster.ports.clock import Clock
from image_poster.ports.jobs import ReconciliationCursor
from image_poster.ports.posts import DuePost

_AT_A_TIME = 100
_NEVER = ReconciliationCursor(None, 0, 0)


class DynamoScheduledChecks:
    """`ScheduledChecks` in DynamoDB, by a sparse index. It also returns checks that are due within
    the next `ahead_ms` milliseconds."""

    def __init__(self, table: database.Table, clock: Clock, *, ahead_ms: int = 0) -> None:
        self._table = table
        self._clock = clock
        self._ahead_ms = ahead_ms

    async def due(self) -> AsyncIterator[DuePost]:
        for part in range(schema.DUE_PARTS):
            for key in await self._keys(schema.due_key(part)):
                # The index is a moment behind; the item says what is.
                item = await self._table.get(key)
                if item is not None and "due" in item:
                    yield _due_post(item)

    async def reschedule(self, post_id: str, at_ms: int | None) -> None:
        change = database.Update(
            schema.post_key(post_id),
            put={} if at_ms is None else schema.due_attributes(post_id, at_ms),
            remove=schema.DUE_ATTRIBUTES if at_ms is None else (),
            when=(database.Exists("due"),),
        )
        with suppress(database.ConditionFailedError, database.ConflictError):
            await self._table.write(change)

    async def _keys(self, partition: str) -> list[database.Key]:
        """All due keys of a partition, read before any check: a check changes the index."""
        found: list[database.Key] = []
        before: str | None = schema.due_at(self._clock.now_ms() + self._ahead_ms)
        while before is not None:
            query = database.Query(partition, _AT_A_TIME, before, "due", ("due", "due_at"))
            items, before = await self._table.query(query)
            found += [schema.key_of(item) for item in items]
        return found


def _due_post(item: database.Item) -> DuePost:
    status = PostStatus(str(item["status"])) if is_there(item) else None
    return DuePost(str(item["id"]), status, int(item["since_ms"]))


class DynamoReconciliationCursorStore:
    """`ReconciliationCursorStore` in one item."""

    def __init__(self, table: database.Table) -> None:
        self._table = table

    async def read(self) -> ReconciliationCursor:
        item = await self._table.get(schema.HEALING_KEY)
        if item is None:
            return _NEVER
        after = item.get("after")
        return ReconciliationCursor(
            None if after is None else str(after), int(item["started_ms"]), int(item["until_ms"])
        )

    async def take(self, seen: ReconciliationCursor, until_ms: int) -> bool:
        unchanged: database.Condition = database.Missing(database.PK)
        if seen != _NEVER:
            unchanged = database.Is("until_ms", seen.until_ms)
        try:
            await self._write(seen._replace(until_ms=until_ms), (unchanged,))
        except (database.ConditionFailedError, database.ConflictError):
            return False
        return True

    async def keep(self, state: ReconciliationCursor) -> None:
        await self._write(state, ())

    async def _write(self, state: ReconciliationCursor, when: database.Conditions) -> None:
        place: database.Item = {"started_ms": state.started_ms, "until_ms": state.until_ms}
        if state.after is not None:
            place["after"] = state.after
        await self._table.write(database.Put(schema.keyed(schema.HEALING_KEY, place), when))
