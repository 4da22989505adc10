"""Tables and indexes of the database, and their migration (`migrations`).

- `posts`: a post. `head` is its JSON, `latest` its newest comments as JSON lines, `since` the first
  epoch of its current rank in `top`. The other columns are keys derived from these, and the state
  of its image work; `turn` orders the jobs of several users. `trace` is the `traceparent` of the
  request that caused the work.
- `past_ranks`: past ranks of posts in `top`, from the epoch `since` to before `until`
  (`domain.feed`).
- `feed_clock`: one row, with the largest epoch of any write.
- `comments`: a comment. `doc` is its JSON. Rows are sorted by post and id, so a page is one range.
- `tombstones`: the user who deleted a post or comment. `pending` until the purge is complete;
  `ended` if it was an upload without all its bytes.
- `idempotency_records`: the response to a user's request with an idempotency key.
- `uploads`: the terms of a resumable upload, until its post is deleted. `refused_bytes` counts
  bytes that were sent and not stored.
- `files`: sizes and hashes of a published post's files.
- `probe`: one row, with the time of the last write of the readiness check.
- `daily_bytes`: the bytes that a user reserved on the day (UTC) of their last reservation.
- `bookings`: reserved bytes of unfinished images, which can still be released.
- `accounts`: bans, and accounts that are being deleted (`deleting_since`: the service clock's time
  of the request). Users in good standing have no row.
- `blocks`: users whom a user blocks.
- `entries`: the moderation queue. `subject` is `Subject.key`; `closed_by` is the action that closed
  the entry, NULL while it is open. `reports` and `reasons` (JSON) count the reports.
- `reports`: reports by users. One is open as long as its entry.
- `decisions`: the log of decisions; its rowid is the order of the transactions.
- `appeals`: appeals against decisions.
- `blocked_hashes`: perceptual hashes of images that decisions blocked.
- `deleted_accounts`: hashes of the names of deleted accounts, with the time of the deletion's end
  (service clock), for as long as `used_keys`.
- `reviews`: images that wait for the review hook (`PendingReview` as JSON).
- `used_keys`: hashes of the idempotency keys of deleted accounts (`idempotency.used_key`).
- `webhook_endpoints`: receivers of webhooks. `is_off`: it answered 410; `dropped` counts events
  that were deleted beyond its bounds; `removed_at` is when it was no longer configured.
- `outbox`: events that wait for delivery, one row for each endpoint. `occurred_ms` is the wall
  clock's time of the fact, `since_ms` and `due_at` are the service clock's.

The database's `user_version` is the number of applied `MIGRATIONS`.
"""

import sqlite3

from image_poster.adapters.sqlite.migrations import MIGRATIONS
from image_poster.domain.comments import join_latest, split_latest
from image_poster.domain.limits import LATEST_KEPT

VERSION = len(MIGRATIONS)


class SchemaTooNewError(Exception):
    """The database was written by a later version of this program."""


class SchemaTooOldError(Exception):
    """The database is of an earlier version of this program and must not be migrated here."""


def version_of(connection: sqlite3.Connection) -> int:
    """The schema version of a database, 0 if it is new. Raises `SchemaTooNewError`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise SchemaTooNewError(
            f"it has schema version {version}, of a later program; this program supports versions "
            f"up to {VERSION}"
        )
    return int(version)


def prepare(connection: sqlite3.Connection) -> None:
    """Create the tables of a new database. Raises `SchemaTooNewError` and `SchemaTooOldError`."""
    version = version_of(connection)
    if 0 < version < VERSION:
        raise SchemaTooOldError(
            f"it has schema version {version}, and this program needs {VERSION}: the next start of "
            "`image-poster serve` migrates it"
        )
    migrate(connection)


def _fitting_latest(latest: bytes) -> bytes:
    return join_latest(split_latest(latest, LATEST_KEPT))


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate the database to `VERSION`, in one transaction. Raises `SchemaTooNewError`."""
    connection.create_function("fitting_latest", 1, _fitting_latest, deterministic=True)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migration in MIGRATIONS[version_of(connection) :]:
            for statement in migration.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
