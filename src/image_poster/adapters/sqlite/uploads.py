"""Resumable uploads in SQLite: their records, and quotas of bytes a day and of unfinished uploads.

Quotas are counted in the transaction of the post. `daily_bytes` has a user's bytes on the day of
their last post or upload. `bookings` has the bytes of unfinished uploads, which can still be
released. Functions with the argument `connection` run within a transaction.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.standing import find_standing
from image_poster.domain.errors import UploadGoneError
from image_poster.domain.ids import least_id
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits, check_bytes, check_under_way, day_of
from image_poster.domain.posts import PostStatus
from image_poster.domain.uploads import Upload
from image_poster.ports import Clock
from image_poster.ports.uploads import UploadRecord

# The unfinished uploads of a user, and the bytes of the day. Ids tell the service clock's time: a
# wall clock that was ahead locks nobody out for longer.
_USAGE = (
    "SELECT (SELECT count(*) FROM bookings WHERE user = ?1 AND expires_at > ?2 AND post_id >= ?3), "
    "coalesce((SELECT bytes FROM daily_bytes WHERE user = ?1 AND day = ?4), 0)"
)
_ADD = (
    "INSERT INTO daily_bytes (user, day, bytes) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE "
    "SET bytes = CASE WHEN day = ?2 THEN bytes ELSE 0 END + ?3, day = ?2"
)


class SqliteUploadQuota:
    """`UploadQuota` in SQLite; without limits it counts nothing.

    Stored bytes and stored unfinished uploads never exceed the quotas, whatever the number of
    processes: the transaction that stores them checks. But each process knows only its own requests
    in progress. So N processes may receive N times the rest of a user's quota at once. Bytes beyond
    the quota are refused when they have arrived.
    """

    def __init__(self, database: Database, clock: Clock, limits: Limits) -> None:
        self._database = database
        self._clock = clock
        self._rates = limits.rates
        self._image_bytes = limits.image_bytes
        self._is_on = not (
            limits.rates.bytes_per_day is None and limits.rates.uploads_under_way is None
        )
        # The sizes of the images that this process receives, by user, and the bytes charged since
        # the first of them began. Those do not refuse an image that has a reservation.
        self._arriving: dict[str, list[int]] = {}
        self._charged: dict[str, int] = {}

    @asynccontextmanager
    async def reserve(self, user: str, size: int) -> AsyncIterator[None]:
        if not self._is_on:
            yield
            return
        usage = self._database.read(_USAGE, *self._usage_parameters(user))[0]
        self._check(usage, user, size)
        sizes = self._arriving.setdefault(user, [])
        sizes.append(size)
        try:
            yield
        finally:
            sizes.remove(size)
            if not sizes:
                del self._arriving[user]
                self._charged.pop(user, None)

    async def charge(self, user: str, size: int) -> None:
        if self._is_on and size:
            if user in self._arriving:
                self._charged[user] = self._charged.get(user, 0) + size
            await self._database.write(lambda connection: self._charge(connection, user, size))

    def _charge(self, connection: sqlite3.Connection, user: str, size: int) -> None:
        if not find_standing(connection, user).is_deleting:  # its quota records are deleted too
            self._count(connection, user, size)

    def check_image(self, connection: sqlite3.Connection, user: str, size: int) -> None:
        """Check that the user may store an image of `size` bytes, which has a reservation. Raises
        `RateLimitedError`: other processes may have stored more since."""
        if self._is_on:
            _, stored_bytes = self._usage(connection, user)
            stored_bytes = max(0, stored_bytes - self._charged.get(user, 0))
            check_bytes(self._rates, stored_bytes, size, self._clock.now_ms())

    def count_image(self, connection: sqlite3.Connection, user: str, size: int) -> None:
        """Count the bytes of a stored image."""
        if self._is_on:
            self._count(connection, user, size)

    def reserve_upload(
        self, connection: sqlite3.Connection, post_id: str, user: str, upload: Upload
    ) -> None:
        """Reserve an upload's bytes, or the image limit if its length is unknown. Raises
        `RateLimitedError`."""
        if not self._is_on:
            return
        size = self._image_bytes if upload.length is None else upload.length
        self._check(self._usage(connection, user), user, size)
        insertion = connection.execute(
            "INSERT OR IGNORE INTO bookings (post_id, user, day, bytes, expires_at, is_upload) "
            "VALUES (?, ?, ?, ?, ?, 1)",
            (post_id, user, day_of(self._clock.now_ms()), size, upload.expires_ms),
        )
        if insertion.rowcount:
            self._count(connection, user, size)

    async def release_former(self) -> None:
        """End the reservations that requests of former versions stored, at the start of the
        database's only server. Requests that created a post keep their bytes."""
        await self._database.write(_release_former)

    def _check(self, usage: tuple[int, int], user: str, size: int) -> None:
        """Check stored usage and this process's requests in progress together."""
        under_way, stored_bytes = usage
        arriving = self._arriving.get(user, ())
        check_under_way(self._rates, under_way + len(arriving))
        check_bytes(self._rates, stored_bytes + sum(arriving), size, self._clock.now_ms())

    def _usage(self, connection: sqlite3.Connection, user: str) -> tuple[int, int]:
        row: tuple[int, int] = connection.execute(_USAGE, self._usage_parameters(user)).fetchone()
        return row

    def _usage_parameters(self, user: str) -> tuple[str, int, str, int]:
        now_ms = self._clock.now_ms()
        oldest_id = least_id(self._clock.service_ms() - UPLOAD_KEPT_MS + 1)
        return user, now_ms, oldest_id, day_of(now_ms)

    def _count(self, connection: sqlite3.Connection, user: str, size: int) -> None:
        connection.execute(_ADD, (user, day_of(self._clock.now_ms()), size))


def release_upload(
    connection: sqlite3.Connection, post_id: str, *, kept_bytes: int | None = None
) -> None:
    """End a post's reservation and release all but `kept_bytes` (None: keep all). Without a
    reservation, do nothing."""
    bookings = connection.execute(
        "DELETE FROM bookings WHERE post_id = ? RETURNING user, day, bytes", (post_id,)
    ).fetchall()
    if bookings and kept_bytes is not None:
        _release_bytes(connection, bookings[0], kept_bytes)


def adjust_upload(connection: sqlite3.Connection, post_id: str, size: int) -> None:
    """Set an upload's reservation to its declared length in bytes. Without one, do nothing."""
    booking = connection.execute(
        "SELECT user, day, bytes FROM bookings WHERE post_id = ?", (post_id,)
    ).fetchone()
    if booking:
        _release_bytes(connection, booking, size)
        connection.execute("UPDATE bookings SET bytes = ? WHERE post_id = ?", (size, post_id))


def forget_days(connection: sqlite3.Connection, before_ms: int) -> None:
    """Delete the bytes of days before that of the time `before_ms`."""
    connection.execute("DELETE FROM daily_bytes WHERE day < ?", (day_of(before_ms),))


def _release_bytes(
    connection: sqlite3.Connection, booking: tuple[str, int, int], size: int
) -> None:
    """Release a reservation's bytes beyond `size`, if its day is still the user's last one."""
    user, day, reserved_bytes = booking
    connection.execute(
        "UPDATE daily_bytes SET bytes = max(0, bytes - ?) WHERE user = ? AND day = ?",
        (reserved_bytes - size, user, day),
    )


def _release_former(connection: sqlite3.Connection) -> None:
    rows = connection.execute(
        "SELECT post_id, id IS NOT NULL FROM bookings LEFT JOIN posts ON id = post_id "
        "WHERE is_upload = 0"
    ).fetchall()
    for post_id, has_post in rows:
        release_upload(connection, post_id, kept_bytes=None if has_post else 0)


class SqliteUploadRecordStore:
    """`UploadRecordStore` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, post_id: str) -> UploadRecord | None:
        row = self._database.read_one(
            "SELECT creator, status, length, expires_at, metadata, sha256, content_type "
            "FROM uploads JOIN posts ON posts.id = post_id WHERE post_id = ?",
            post_id,
        )
        if row is not None:
            creator, status, *terms = row
            return UploadRecord(creator, status == PostStatus.AWAITING_UPLOAD, Upload(*terms))
        if self._database.read_one("SELECT 1 FROM tombstones WHERE id = ?", post_id):
            raise UploadGoneError
        return None

    async def declare_length(self, post_id: str, length: int) -> None:
        def declare(connection: sqlite3.Connection) -> None:
            declared = connection.execute(
                "UPDATE uploads SET length = ? WHERE post_id = ? AND length IS NULL",
                (length, post_id),
            )
            if declared.rowcount:
                adjust_upload(connection, post_id, length)

        await self._database.write(declare)

    async def count_refused(self, post_id: str, size: int) -> int:
        def count(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "UPDATE uploads SET refused_bytes = refused_bytes + ?1 WHERE post_id = ?2 "
                "AND EXISTS (SELECT 1 FROM posts WHERE id = ?2 AND status = 'awaiting_upload') "
                "RETURNING refused_bytes",
                (size, post_id),
            ).fetchone()
            return int(row[0]) if row else 0

        return await self._database.write(count)

    async def awaiting(self, after: str, limit: int) -> list[tuple[str, Upload]]:
        rows = self._database.read(
            "SELECT id, length, expires_at, metadata, sha256, content_type FROM posts "
            "JOIN uploads ON uploads.post_id = posts.id "
            "WHERE status = 'awaiting_upload' AND id > ? ORDER BY id LIMIT ?",
            after,
            limit,
        )
        return [(row[0], Upload(*row[1:])) for row in rows]

    async def set_expiry(self, post_id: str, expires_ms: int) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE uploads SET expires_at = ? WHERE post_id = ?", (expires_ms, post_id)
            )
        )

    async def move_expiries(self, by_ms: int, *, before_ms: int) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE uploads SET expires_at = expires_at + ? "
                "WHERE expires_at BETWEEN ? AND ? AND post_id IN "
                "(SELECT id FROM posts WHERE status = 'awaiting_upload')",
                (by_ms, before_ms, before_ms + UPLOAD_KEPT_MS),
            )
        )
