"""Events that wait for their delivery, in SQLite. `add_event` adds one within the transaction of
its fact.

A row is one event for one endpoint. It is deleted after its delivery, so the table is small unless
events wait for a receiver that is down, or are parked.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any

from image_poster.adapters.sqlite.database import Database, event_clock, trace_of
from image_poster.domain.events import (
    DELIVERED_FOR_MS,
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    Event,
    new_event_id,
)
from image_poster.ports import Clock
from image_poster.ports.events import Endpoint, EndpointReport, WaitingEvent

_ADD = (
    "INSERT INTO outbox (endpoint_id, id, type, post_id, comment_id, record_id, user, "
    "occurred_ms, since_ms, due_at, trace) "
    "SELECT id, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9 FROM webhook_endpoints "
    "WHERE is_configured = 1"
)
_CONFIGURE = (
    "INSERT INTO webhook_endpoints (url, is_configured) VALUES (?, 1) "
    "ON CONFLICT DO UPDATE SET is_configured = 1, removed_at = NULL"
)
_ENDPOINTS = "SELECT id, url, is_off FROM webhook_endpoints WHERE is_configured = 1 ORDER BY id"
_DUE = (
    "SELECT row, id, type, post_id, comment_id, record_id, user, occurred_ms, since_ms, tries, "
    "trace FROM outbox WHERE endpoint_id = ?1 AND is_parked = 0 AND due_at <= ?2 "
    "AND NOT EXISTS (SELECT 1 FROM webhook_endpoints WHERE id = ?1 AND is_off = 1) "
    "ORDER BY due_at LIMIT ?3"
)
_FAILED_TRY = "UPDATE outbox SET tries = tries + 1, due_at = ?, is_parked = ? WHERE row = ?"
_ERROR = "UPDATE webhook_endpoints SET last_error = ?, failed_ms = ? WHERE id = ?"
_REPORTS = (
    "SELECT id, url, is_off, is_configured, "
    "(SELECT count(*) FROM outbox WHERE endpoint_id = webhook_endpoints.id AND is_parked = 0), "
    "(SELECT count(*) FROM outbox WHERE endpoint_id = webhook_endpoints.id AND is_parked = 1), "
    "dropped, "
    "(SELECT min(occurred_ms) FROM outbox WHERE endpoint_id = webhook_endpoints.id "
    "AND is_parked = 0), "
    "last_error, failed_ms FROM webhook_endpoints ORDER BY id"
)
# At most, of all columns but the user's name, and of the row's entry in the index.
_BYTES_OF_ROW = 350
_SIZES = (
    "SELECT endpoint_id, count(*), total(length(CAST(user AS BLOB))) FROM outbox "
    "GROUP BY endpoint_id"
)
_OLDEST = "SELECT row FROM outbox WHERE endpoint_id = ? ORDER BY row LIMIT ?"
_IS_FORMER = "SELECT 1 FROM webhook_endpoints WHERE id = ? AND removed_at < ?"
_REPLAY = (
    "UPDATE outbox SET is_parked = 0, tries = 0, since_ms = ?1, due_at = ?1 WHERE row IN "
    "(SELECT row FROM outbox WHERE row > ?2 AND row <= ?3 AND (is_parked = 1 OR tries > 0))"
)
# Rows of one transaction: other writers wait for it.
_ROWS_AT_A_TIME = 1000


def add_event(connection: sqlite3.Connection, event: Event) -> None:
    """Add an event for each configured endpoint. Without one, nothing is stored."""
    clock = event_clock(connection)
    if clock is not None:
        type_, *ids = event
        times = clock.now_ms(), clock.service_ms()
        connection.execute(_ADD, (new_event_id(), type_, *ids, *times, trace_of(connection)))


def _waiting_event(row: int, id_: str, type_: str, *columns: Any) -> WaitingEvent:  # noqa: ANN401 - a row
    """The event in a row of `_DUE`."""
    ids, times_and_tries = columns[:4], columns[4:]
    return WaitingEvent(row, id_, Event(type_, *ids), *times_and_tries)


class SqliteOutbox:
    """`Outbox` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        if self.endpoints():
            database.store_events(clock)

    async def configure(self, urls: Sequence[str]) -> None:
        now = self._clock.service_ms()

        def replace(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE webhook_endpoints SET is_configured = 0, "
                "removed_at = coalesce(removed_at, ?)",
                (now,),
            )
            connection.executemany(_CONFIGURE, [(url,) for url in urls])

        if urls or self.endpoints():
            await self._database.write(replace)
        self._database.store_events(self._clock if urls else None)

    def endpoints(self) -> list[Endpoint]:
        rows = self._database.read(_ENDPOINTS)
        return [Endpoint(id_, url, bool(is_off)) for id_, url, is_off in rows]

    def due(self, endpoint_id: int, limit: int) -> list[WaitingEvent]:
        rows = self._database.read(_DUE, endpoint_id, self._clock.service_ms(), limit)
        return [_waiting_event(*row) for row in rows]

    async def complete(self, event: WaitingEvent) -> None:
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM outbox WHERE row = ?", (event.row,))
        )

    async def retry(self, endpoint_id: int, event: WaitingEvent, delay_ms: int, error: str) -> None:
        await self._store_failure(endpoint_id, event, error, delay_ms)

    async def park(self, endpoint_id: int, event: WaitingEvent, error: str) -> None:
        await self._store_failure(endpoint_id, event, error, None)

    async def _store_failure(
        self, endpoint_id: int, event: WaitingEvent, error: str, delay_ms: int | None
    ) -> None:
        due_at = self._clock.service_ms() + (delay_ms or 0)
        failed_ms = self._clock.now_ms()

        def store(connection: sqlite3.Connection) -> None:
            connection.execute(_FAILED_TRY, (due_at, delay_ms is None, event.row))
            connection.execute(_ERROR, (error, failed_ms, endpoint_id))

        await self._database.write(store)

    async def switch_off(self, endpoint_id: int, error: str) -> None:
        failed_ms = self._clock.now_ms()

        def store(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE webhook_endpoints SET is_off = 1 WHERE id = ?", (endpoint_id,)
            )
            connection.execute(_ERROR, (error, failed_ms, endpoint_id))

        await self._database.write(store)

    async def replay(self) -> int:
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE webhook_endpoints SET is_off = 0, dropped = 0"
            )
        )
        (last,) = self._database.read("SELECT coalesce(max(row), 0) FROM outbox")[0]
        replayed = 0
        for row in range(0, last, _ROWS_AT_A_TIME):
            replayed += await self._database.write(partial(self._replay_rows, row))
        return replayed

    def _replay_rows(self, after: int, connection: sqlite3.Connection) -> int:
        now = self._clock.service_ms()
        return connection.execute(_REPLAY, (now, after, after + _ROWS_AT_A_TIME)).rowcount

    async def enforce_bounds(self) -> int:
        await self._delete_former_endpoints()
        sizes = await asyncio.to_thread(self._read_sizes)
        dropped = 0
        for endpoint_id, number, user_bytes in sizes:
            bytes_of_row = _BYTES_OF_ROW + user_bytes / number
            excess = number - min(MAX_EVENTS, int(MAX_EVENT_BYTES / bytes_of_row))
            while excess > 0:
                rows = min(excess, _ROWS_AT_A_TIME)
                await self._database.write(partial(_drop_oldest, endpoint_id, rows))
                dropped, excess = dropped + rows, excess - rows
        return dropped

    async def reports(self) -> list[EndpointReport]:
        rows = await asyncio.to_thread(self._read_aside, _REPORTS)
        return [
            EndpointReport(Endpoint(id_, url, bool(is_off)), bool(is_configured), *rest)
            for id_, url, is_off, is_configured, *rest in rows
        ]

    def _read_sizes(self) -> list[tuple[int, int, float]]:
        return self._read_aside(_SIZES)

    def _read_aside(self, sql: str) -> list[tuple[Any, ...]]:
        """Read on a connection of its own, in a thread: it counts up to a million rows."""
        with closing(self._database.connect_aside()) as connection:
            return connection.execute(sql).fetchall()

    async def _delete_former_endpoints(self) -> None:
        before = self._clock.service_ms() - DELIVERED_FOR_MS
        sql = "SELECT id FROM webhook_endpoints WHERE removed_at < ?"
        for (endpoint_id,) in self._database.read(sql, before):
            while await self._database.write(partial(_delete_former, endpoint_id, before)):
                pass


def _delete_oldest(connection: sqlite3.Connection, endpoint_id: int, number: int) -> int:
    rows = connection.execute(_OLDEST, (endpoint_id, number)).fetchall()
    connection.executemany("DELETE FROM outbox WHERE row = ?", rows)
    return len(rows)


def _drop_oldest(endpoint_id: int, number: int, connection: sqlite3.Connection) -> None:
    deleted = _delete_oldest(connection, endpoint_id, number)
    sql = "UPDATE webhook_endpoints SET dropped = dropped + ? WHERE id = ?"
    connection.execute(sql, (deleted, endpoint_id))


def _delete_former(endpoint_id: int, before: int, connection: sqlite3.Connection) -> bool:
    """Delete some events of a former endpoint, or the endpoint if it has none. Returns False once
    it is gone, or configured again."""
    if connection.execute(_IS_FORMER, (endpoint_id, before)).fetchone() is None:
        return False
    if _delete_oldest(connection, endpoint_id, _ROWS_AT_A_TIME) == 0:
        connection.execute("DELETE FROM webhook_endpoints WHERE id = ?", (endpoint_id,))
    return True
