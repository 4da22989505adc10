"""Quotas of bytes a day and of unfinished uploads, in SQLite, in the transaction of the upload.

`daily_bytes` has a user's reserved bytes on the day of their last reservation. `bookings` has the
reservations that can still be released.
"""

import sqlite3

from image_poster.adapters.sqlite.database import Database
from image_poster.domain.ids import least_id
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits, check_bytes, check_under_way, day_of
from image_poster.domain.uploads import Upload
from image_poster.ports.clock import Clock

# Ids tell the service clock's time: a wall clock that was ahead locks nobody out for longer.
_UNDER_WAY = "SELECT count(*) FROM bookings WHERE user = ? AND expires_at > ? AND post_id >= ?"
_TODAY = "SELECT bytes FROM daily_bytes WHERE user = ? AND day = ?"
_ADD = (
    "INSERT INTO daily_bytes (user, day, bytes) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE "
    "SET bytes = CASE WHEN day = ?2 THEN bytes ELSE 0 END + ?3, day = ?2"
)


class SqliteUploadQuota:
    """`UploadQuota` in SQLite; without limits it reserves nothing. Functions with the argument
    `connection` run within a transaction."""

    def __init__(self, database: Database, clock: Clock, limits: Limits) -> None:
        self._database = database
        self._clock = clock
        self._rates = limits.rates
        self._image_bytes = limits.image_bytes
        self._is_on = not (
            limits.rates.bytes_per_day is None and limits.rates.uploads_under_way is None
        )

    async def reserve(self, post_id: str, user: str, size: int) -> None:
        if self._is_on:
            expires = self._clock.now_ms() + UPLOAD_KEPT_MS
            await self._database.write(
                lambda connection: self._book(connection, (post_id, user, size, expires, False))
            )

    async def commit(self, post_id: str, size: int) -> None:
        if self._is_on:
            await self._database.write(
                lambda connection: release_upload(connection, post_id, kept_bytes=size)
            )

    async def charge(self, user: str, size: int) -> None:
        if self._is_on:
            day = day_of(self._clock.now_ms())
            await self._database.write(
                lambda connection: connection.execute(_ADD, (user, day, size))
            )

    def reserve_bytes(
        self, connection: sqlite3.Connection, post_id: str, user: str, upload: Upload
    ) -> None:
        """Reserve an upload's bytes, or the image limit if its length is unknown. Raises
        `RateLimitedError`."""
        if self._is_on:
            size = self._image_bytes if upload.length is None else upload.length
            self._book(connection, (post_id, user, size, upload.expires_ms, True))

    async def release_former(self) -> None:
        """End the reservations of former requests, at the start of the database's only server.
        Requests that created a post keep their bytes."""
        await self._database.write(_settle_former)

    def _book(
        self, connection: sqlite3.Connection, booking: tuple[str, str, int, int, bool]
    ) -> None:
        post_id, user, size, expires, is_upload = booking
        now = self._clock.now_ms()
        day = day_of(now)
        oldest = least_id(self._clock.service_ms() - UPLOAD_KEPT_MS + 1)
        (under_way,) = connection.execute(_UNDER_WAY, (user, now, oldest)).fetchone()
        check_under_way(self._rates, under_way)
        today = connection.execute(_TODAY, (user, day)).fetchone()
        check_bytes(self._rates, today[0] if today else 0, size, now)
        booked = connection.execute(
            "INSERT OR IGNORE INTO bookings (post_id, user, day, bytes, expires_at, is_upload) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (post_id, user, day, size, expires, is_upload),
        )
        if booked.rowcount:
            connection.execute(_ADD, (user, day, size))


def release_upload(
    connection: sqlite3.Connection, post_id: str, *, kept_bytes: int | None = None
) -> None:
    """End a post's reservation and release all but `kept_bytes` (None: keep all). Without a
    reservation, do nothing."""
    booked = connection.execute(
        "DELETE FROM bookings WHERE post_id = ? RETURNING user, day, bytes", (post_id,)
    ).fetchall()
    if booked and kept_bytes is not None:
        _give_back(connection, booked[0], kept_bytes)


def adjust_upload(connection: sqlite3.Connection, post_id: str, size: int) -> None:
    """Set an upload's reservation to its declared length in bytes. Without one, do nothing."""
    booked = connection.execute(
        "SELECT user, day, bytes FROM bookings WHERE post_id = ?", (post_id,)
    ).fetchone()
    if booked:
        _give_back(connection, booked, size)
        connection.execute("UPDATE bookings SET bytes = ? WHERE post_id = ?", (size, post_id))


def forget_days(connection: sqlite3.Connection, before_ms: int) -> None:
    """Delete the reserved bytes of days before that of the time `before_ms`."""
    connection.execute("DELETE FROM daily_bytes WHERE day < ?", (day_of(before_ms),))


def _give_back(connection: sqlite3.Connection, booking: tuple[str, int, int], kept: int) -> None:
    """Release a reservation's bytes beyond `kept`, if its day is still the user's last one."""
    user, day, booked = booking
    connection.execute(
        "UPDATE daily_bytes SET bytes = max(0, bytes - ?) WHERE user = ? AND day = ?",
        (booked - kept, user, day),
    )


def _settle_former(connection: sqlite3.Connection) -> None:
    former = connection.execute(
        "SELECT post_id, id IS NOT NULL FROM bookings LEFT JOIN posts ON id = post_id "
        "WHERE is_upload = 0"
    ).fetchall()
    for post_id, has_post in former:
        release_upload(connection, post_id, kept_bytes=None if has_post else 0)
