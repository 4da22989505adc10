"""Posts in SQLite, and the records of their files."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from image_poster.adapters.sqlite.database import Database, trace_of
from image_poster.adapters.sqlite.entries import add_records, close_content_entries, log_for_owner
from image_poster.adapters.sqlite.events import add_event
from image_poster.adapters.sqlite.idempotency import (
    add_tombstone,
    check_unused,
    clear_records,
    store_record,
    was_deleted_by,
)
from image_poster.adapters.sqlite.standing import check_began_after_deletion, check_standing
from image_poster.adapters.sqlite.uploads import SqliteUploadQuota, release_upload
from image_poster.domain.errors import PostNotFoundError
from image_poster.domain.events import Event, EventType, type_of_change
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.limits import Limits
from image_poster.domain.moderation import Decision, ModerationRecords, Subject
from image_poster.domain.posts import (
    Post,
    PostStatus,
    StoredPost,
    check_may_change,
    decode_post,
    encode_post,
)
from image_poster.domain.uploads import Upload
from image_poster.ports import Clock
from image_poster.ports.images import FileRecord
from image_poster.ports.posts import NO_RECORDS, PostNotifier
from image_poster.services.posts import NULL_NOTIFIER

# Image work is fair between users (start-time fair queueing, Goyal et al. 1996). Each waiting job
# of a user is one turn behind the job before it. The first one begins with the turn that is
# served now. It is set before a post becomes `processing`.
_NEXT_TURN = (
    "(SELECT coalesce(max(own.turn) + 1, "
    "(SELECT min(turn) FROM posts WHERE status = 'processing'), 0) "
    "FROM posts AS own WHERE own.status = 'processing' AND own.creator = {})"
)

_FIND = "SELECT id, total_comments, head, latest FROM posts WHERE id = ?"


def find_post(connection: sqlite3.Connection, post_id: str) -> Post | None:
    """Read a post within a transaction; None if it is not there."""
    row = connection.execute("SELECT head FROM posts WHERE id = ?", (post_id,)).fetchone()
    return None if row is None else decode_post(row[0])


def stored_post(connection: sqlite3.Connection, post_id: str) -> StoredPost:
    """Read a post within a transaction. Raises `PostNotFoundError`."""
    row = connection.execute(_FIND, (post_id,)).fetchone()
    if row is None:
        raise PostNotFoundError
    return StoredPost(*row)


class AppliedChange(NamedTuple):
    """A post before and after a change."""

    former: Post
    post: Post
    stored: StoredPost


def change_post(
    connection: sqlite3.Connection,
    post_id: str,
    change: Callable[[Post], Post],
    now_ms: int,
    error: str | None = None,
) -> AppliedChange:
    """Replace a post by the result of `change` within a transaction; `error` ended its old state.
    One that leaves `awaiting_upload` ends its reservation. Raises `PostNotFoundError`."""
    stored = stored_post(connection, post_id)
    former = stored.post
    post = change(former)
    head = encode_post(post)
    if former.status is PostStatus.AWAITING_UPLOAD is not post.status:
        release_upload(connection, post_id)
    if post.status is not former.status:
        connection.execute("DELETE FROM reviews WHERE post_id = ?", (post_id,))
        _enter_status(connection, post, now_ms)
        type_ = type_of_change(former.status, post.status)
        if type_ is not None:
            add_event(connection, Event(type_, post_id))
    connection.execute(
        "UPDATE posts SET head = ?1, status = ?2, "
        "error = CASE WHEN status = ?2 THEN error ELSE ?3 END WHERE id = ?4",
        (head, post.status, error, post_id),
    )
    return AppliedChange(former, post, stored._replace(head=head))


def _enter_status(connection: sqlite3.Connection, post: Post, now_ms: int) -> None:
    """A post that becomes `processing` is due at once, in its creator's next turn. For one that
    becomes `failed`, `due_at` is the time since when."""
    if post.status is PostStatus.PROCESSING:
        connection.execute(
            "UPDATE posts SET due_at = ?, leases = 0, failures = 0, trace = ?, "  # noqa: S608 - a constant
            f"turn = {_NEXT_TURN.format('posts.creator')} WHERE id = ?",
            (now_ms, trace_of(connection), post.id),
        )
    elif post.status is PostStatus.FAILED:
        connection.execute("UPDATE posts SET due_at = ? WHERE id = ?", (now_ms, post.id))


def delete_post(connection: sqlite3.Connection, post_id: str) -> None:
    """Delete a post's row, its texts in other tables, and its reservation; close its entries and
    those of its comments. The comments themselves are purged later."""
    rows = connection.execute(
        "DELETE FROM posts WHERE id = ? RETURNING status", (post_id,)
    ).fetchall()
    if rows and rows[0][0] != PostStatus.AWAITING_UPLOAD:
        add_event(connection, Event(EventType.POST_DELETED, post_id))
    connection.execute("DELETE FROM uploads WHERE post_id = ?", (post_id,))
    connection.execute("DELETE FROM files WHERE post_id = ?", (post_id,))
    connection.execute("DELETE FROM reviews WHERE post_id = ?", (post_id,))
    clear_records(connection, [post_id])
    close_content_entries(connection, Subject(post_id))
    release_upload(connection, post_id, kept_bytes=0)


class SqlitePostStore:
    """`PostStore` in SQLite. `notifier` is notified of every added, changed or deleted post."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        quota: SqliteUploadQuota | None = None,
        notifier: PostNotifier = NULL_NOTIFIER,
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._clock = clock
        self._quota = quota or SqliteUploadQuota(database, clock, Limits())

    async def add(
        self,
        post: Post,
        record: IdempotencyRecord | None = None,
        upload: Upload | None = None,
        *,
        image_bytes: int = 0,
        instead_of: IdempotencyRecord | None = None,
    ) -> None:
        now = self._clock.service_ms()
        row = (post.id, post.status, post.creator, encode_post(post), now)
        self._database.check_free_space(len(row[3]))

        def insert(connection: sqlite3.Connection) -> None:
            check_unused(connection, record, instead_of)
            check_standing(connection, post.creator, self._clock.now_ms())
            check_began_after_deletion(connection, post.creator, post.id)
            if upload is None:
                self._quota.check_image(connection, post.creator, image_bytes)
            else:
                self._quota.reserve_upload(connection, post.id, post.creator, upload)
            store_record(connection, record, now)
            if upload is not None:
                connection.execute(
                    "INSERT OR IGNORE INTO uploads "
                    "(post_id, length, expires_at, metadata, sha256, content_type) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (post.id, *msgspec.structs.astuple(upload)),
                )
            added = connection.execute(
                "INSERT OR IGNORE INTO posts (id, status, creator, head, due_at, trace, turn) "  # noqa: S608 - a constant
                f"VALUES (?1, ?2, ?3, ?4, ?5, ?6, {_NEXT_TURN.format('?3')})",
                (*row, trace_of(connection)),
            )
            if image_bytes and added.rowcount:
                self._quota.count_image(connection, post.creator, image_bytes)

        await self._database.write(insert)
        self._notifier.notify(post.id)

    async def find(self, post_id: str) -> StoredPost | None:
        row = self._database.read_one(_FIND, post_id)
        return StoredPost(*row) if row else None

    async def is_ready(self, post_id: str) -> bool:
        sql = "SELECT 1 FROM posts WHERE id = ? AND status = 'ready'"
        return self._database.read_one(sql, post_id) is not None

    async def was_deleted(self, post_id: str) -> bool:
        return self._database.read_one("SELECT 1 FROM tombstones WHERE id = ?", post_id) is not None

    async def was_aborted(self, post_id: str) -> bool:
        sql = "SELECT 1 FROM tombstones WHERE id = ? AND ended = 1"
        return self._database.read_one(sql, post_id) is not None

    async def update(
        self,
        post_id: str,
        change: Callable[[Post], Post],
        *,
        files: Sequence[FileRecord] = (),
        image_hash: str = "",
        records: ModerationRecords = NO_RECORDS,
    ) -> StoredPost:
        now = self._clock.service_ms()

        def checked(former: Post) -> Post:
            post = change(former)
            if post.edited_at != former.edited_at:  # an edit needs space, image work does not
                self._database.check_free_space(0)
            return post

        def replace(connection: sqlite3.Connection) -> StoredPost:
            former, post, stored = change_post(connection, post_id, checked, now)
            if post != former:
                add_records(connection, records, Subject(post_id), post.creator)
            store_files(connection, post_id, files)
            if image_hash:
                sql = "UPDATE posts SET image_hash = ? WHERE id = ?"
                connection.execute(sql, (image_hash, post_id))
            return stored

        stored = await self._database.write(replace)
        self._notifier.notify(post_id)
        return stored

    async def remove(
        self,
        post_id: str,
        by: Identity,
        *,
        ended: bool = False,
        decision: Decision | None = None,
    ) -> None:
        now = self._clock.service_ms()

        def delete(connection: sqlite3.Connection) -> None:
            if was_deleted_by(connection, post_id, by):
                return
            post = stored_post(connection, post_id).post
            check_may_change(post, by)
            delete_post(connection, post_id)
            log_for_owner(connection, decision, post.creator)
            unfinished = ended and post.status is PostStatus.AWAITING_UPLOAD
            add_tombstone(connection, post_id, by, now, pending=True, ended=unfinished)

        await self._database.write(delete)
        self._notifier.notify(post_id)


def store_files(connection: sqlite3.Connection, post_id: str, files: Sequence[FileRecord]) -> None:
    """Store the records of a post's files within a transaction."""
    connection.executemany(
        "INSERT OR REPLACE INTO files (post_id, name, size, sha256) VALUES (?, ?, ?, ?)",
        [(post_id, *record) for record in files],
    )
