"""Image work in SQLite: a post is a job if it is `processing` and its `due_at` has passed. While it
waits for the review hook, it is none."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.posts import change_post, find_post, store_files, stored_post
from image_poster.domain.errors import PostNotFoundError
from image_poster.domain.posts import (
    PROCESSING_FAILED,
    Post,
    PostStatus,
    failed_post,
    is_parked,
    replayed_post,
)
from image_poster.ports import Clock
from image_poster.ports.images import FileRecord
from image_poster.ports.posts import Job, ParkedJob, PendingReview, PostNotifier
from image_poster.services.posts import NULL_NOTIFIER

# A new job is due at once: the service clock of the command that added it may be ahead.
_DUE = (
    "SELECT id FROM posts WHERE status = 'processing' "
    "AND (due_at <= ? OR leases = 0 AND error IS NULL) "
    "AND NOT EXISTS (SELECT 1 FROM reviews WHERE post_id = posts.id) "
    "ORDER BY turn, due_at, id LIMIT 1"
)
_FAILED = "SELECT id FROM posts WHERE status = 'failed' AND due_at < ? ORDER BY due_at, id LIMIT ?"


class SqliteJobQueue:
    """`JobQueue` in SQLite."""

    def __init__(
        self, database: Database, clock: Clock, notifier: PostNotifier = NULL_NOTIFIER
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._clock = clock

    async def lease(self, lease_ms: int) -> Job | None:
        now = self._clock.service_ms()
        if self._database.read_one(_DUE, now) is None:
            return None  # looking costs nothing; leasing costs a transaction

        def lease_next(connection: sqlite3.Connection) -> Job | None:
            row = connection.execute(
                f"UPDATE posts SET due_at = ?, leases = leases + 1 WHERE id = ({_DUE}) "  # noqa: S608 - a constant
                "RETURNING id, leases, failures, trace",
                (now + lease_ms, now),
            ).fetchall()
            return Job(*row[0]) if row else None

        return await self._database.write(lease_next)

    async def release_all(self) -> None:
        """Make every leased job and review due now. For the start of the database's only server,
        when all former lease holders are dead."""
        now = self._clock.service_ms()

        def release(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE posts SET due_at = ? WHERE status = 'processing' AND due_at > ?",
                (now, now),
            )
            connection.execute("UPDATE reviews SET due_at = ?1 WHERE due_at > ?1", (now,))

        await self._database.write(release)

    async def retry(self, job: Job, *, delay_ms: int, error: str) -> None:
        await self._put_back(job, "failures = failures + 1", delay_ms, error)

    async def postpone(self, job: Job, *, delay_ms: int, error: str) -> None:
        await self._put_back(job, "leases = leases - 1", delay_ms, error)

    async def park(self, job: Job, *, error: str) -> None:
        now = self._clock.service_ms()

        def fail(connection: sqlite3.Connection) -> None:
            with suppress(PostNotFoundError):
                change_post(connection, job.post_id, _parked, now, error)

        await self._database.write(fail)
        self._notifier.notify(job.post_id)

    async def expired_failures(self, before_ms: int, limit: int) -> list[str]:
        rows = self._database.read(_FAILED, before_ms, limit)
        return [post_id for (post_id,) in rows]

    async def parked(self) -> list[ParkedJob]:
        rows = self._database.read(
            "SELECT id, leases, error FROM posts "
            "WHERE status = 'failed' AND error IS NOT NULL ORDER BY id"
        )
        return [ParkedJob(*row) for row in rows]

    async def replay(self, post_id: str) -> bool:
        now = self._clock.service_ms()

        def make_due(connection: sqlite3.Connection) -> bool:
            with suppress(PostNotFoundError):
                if is_parked(stored_post(connection, post_id).post):
                    change_post(connection, post_id, replayed_post, now)
                    return True
            return False

        is_due = await self._database.write(make_due)
        self._notifier.notify(post_id)
        return is_due

    async def _put_back(self, job: Job, count: str, delay_ms: int, error: str) -> None:
        due_at = self._clock.service_ms() + delay_ms
        await self._database.write(
            lambda connection: connection.execute(
                f"UPDATE posts SET due_at = ?, error = ?, {count} "  # noqa: S608 - a constant
                "WHERE id = ? AND status = 'processing'",
                (due_at, error, job.post_id),
            )
        )


_REVIEW_DUE = "SELECT post_id FROM reviews WHERE due_at <= ? ORDER BY due_at, post_id LIMIT 1"


class SqliteReviewQueue:
    """`ReviewQueue` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, post_id: str, review: PendingReview, files: Sequence[FileRecord]) -> None:
        document, now = msgspec.json.encode(review), self._clock.service_ms()

        def insert(connection: sqlite3.Connection) -> None:
            post = find_post(connection, post_id)
            if post is None or post.status is not PostStatus.PROCESSING:
                return
            store_files(connection, post_id, files)
            connection.execute(
                "INSERT OR IGNORE INTO reviews (post_id, review, due_at) VALUES (?, ?, ?)",
                (post_id, document, now),
            )

        await self._database.write(insert)

    async def lease(self, lease_ms: int) -> tuple[str, PendingReview] | None:
        now = self._clock.service_ms()
        if self._database.read_one(_REVIEW_DUE, now) is None:
            return None

        def lease_next(connection: sqlite3.Connection) -> tuple[str, PendingReview] | None:
            row = connection.execute(
                f"UPDATE reviews SET due_at = ? WHERE post_id = ({_REVIEW_DUE}) "  # noqa: S608 - a constant
                "RETURNING post_id, review",
                (now + lease_ms, now),
            ).fetchone()
            return None if row is None else (row[0], _decoded_review(row[1]))

        return await self._database.write(lease_next)

    async def retry(self, post_id: str, *, delay_ms: int) -> None:
        due_at = self._clock.service_ms() + delay_ms

        def count(connection: sqlite3.Connection) -> None:
            sql = "SELECT review FROM reviews WHERE post_id = ?"
            row = connection.execute(sql, (post_id,)).fetchone()
            if row is None:
                return
            review = _decoded_review(row[0])
            counted = msgspec.structs.replace(review, tries=review.tries + 1)
            connection.execute(
                "UPDATE reviews SET review = ?, due_at = ? WHERE post_id = ?",
                (msgspec.json.encode(counted), due_at, post_id),
            )

        await self._database.write(count)


def _decoded_review(document: bytes) -> PendingReview:
    return msgspec.json.decode(document, type=PendingReview)


def _parked(post: Post) -> Post:
    return failed_post(post, PROCESSING_FAILED)
