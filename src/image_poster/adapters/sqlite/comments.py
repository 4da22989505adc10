"""Comments in SQLite: a comment, and its post's count, rank and latest comments, in one
transaction."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from image_poster.adapters.sqlite.database import GREATEST_ID, Database
from image_poster.adapters.sqlite.entries import close_content_entries, log_for_owner
from image_poster.adapters.sqlite.events import add_event
from image_poster.adapters.sqlite.idempotency import (
    add_tombstone,
    check_unused,
    clear_records,
    store_record,
    was_deleted_by,
)
from image_poster.adapters.sqlite.standing import check_standing, check_unblocked
from image_poster.domain import comments
from image_poster.domain.errors import BlockedError, CommentNotFoundError, PostNotFoundError
from image_poster.domain.events import Event, EventType
from image_poster.domain.feed import PAST_EPOCHS, CurrentRank, change_rank, epoch_of
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.limits import LATEST_KEPT, take_page
from image_poster.domain.moderation import Decision, Subject
from image_poster.domain.posts import PostStatus, check_open_for_comments
from image_poster.domain.signing import Page
from image_poster.ports import Clock

# Past ranks that no cursor needs are deleted with each new one, so many at a time: the table
# shrinks, and no write waits for it.
_DELETED_AT_A_TIME = 2


# One query, as each costs a twentieth of a comment: the post ?1, whether the author ?2 has
# a standing that must be checked, and whether one of the author and the creator blocks the other.
_COMMENTED_POST = (
    "SELECT status, creator, total_comments, since, latest, "
    "EXISTS (SELECT 1 FROM accounts WHERE user = ?2), "
    "creator <> ?2 AND (EXISTS (SELECT 1 FROM blocks WHERE user = ?2 AND blocked = creator) "
    "OR EXISTS (SELECT 1 FROM blocks WHERE user = creator AND blocked = ?2)) "
    "FROM posts WHERE id = ?1"
)


class RankedPost(NamedTuple):
    """The stored rank of a post whose count changes."""

    id: str
    creator: str
    rank: CurrentRank


class SqliteCommentStore:
    """`CommentStore` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(
        self,
        comment: comments.Comment,
        record: IdempotencyRecord | None = None,
        *,
        by_admin: bool = False,
    ) -> None:
        author = Identity(comment.creator, admin=by_admin)
        doc = comments.encode_comment(comment)
        self._database.check_free_space(len(doc))

        def insert(connection: sqlite3.Connection) -> None:
            check_unused(connection, record)
            ranked, latest = self._open_post(connection, comment.post_id, author)
            now = self._clock.service_ms()
            store_record(connection, record, now)
            connection.execute(
                "INSERT INTO comments (post_id, id, creator, doc) VALUES (?, ?, ?, ?)",
                (comment.post_id, comment.id, comment.creator, doc),
            )
            latest = _latest_after(connection, comment, doc, latest)
            store_count(connection, ranked, ranked.rank.total + 1, latest, now)
            add_event(connection, Event(EventType.COMMENT_CREATED, comment.post_id, comment.id))

        await self._database.write(insert)

    def _open_post(
        self, connection: sqlite3.Connection, post_id: str, author: Identity
    ) -> tuple[RankedPost, bytes]:
        """A post that accepts a comment of the author, and its latest comments. Raises the errors
        of `CommentStore.add`."""
        row = connection.execute(_COMMENTED_POST, (post_id, author.user)).fetchone()
        if row is None or row[-2]:
            check_standing(connection, author.user, self._clock.now_ms())
        if row is None:
            raise PostNotFoundError
        status, creator, total, since, latest, _, is_blocked = row
        check_open_for_comments(status, creator, author)
        if is_blocked:
            raise BlockedError
        return RankedPost(post_id, creator, CurrentRank(total, since)), latest

    async def page(self, post_id: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        rows = self._database.read(
            "SELECT id, doc FROM comments WHERE post_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
            post_id,
            after or GREATEST_ID,
            limit + 1,
        )
        shown, more = take_page(rows, limit, lambda row: len(row[1]))
        return Page([doc for _, doc in shown], shown[-1][0] if more else None)

    async def find(self, post_id: str, comment_id: str) -> bytes:
        rows = self._database.read(
            "SELECT doc FROM comments WHERE post_id = ? AND id = ?", post_id, comment_id
        )
        if not rows:
            raise CommentNotFoundError
        return bytes(rows[0][0])

    async def update(
        self, post_id: str, comment_id: str, change: Callable[[comments.Comment], comments.Comment]
    ) -> comments.Comment:
        self._database.check_free_space(0)

        def replace(connection: sqlite3.Connection) -> comments.Comment:
            post = _ranked_post(connection, post_id)
            comment = change(_comment(connection, post_id, comment_id))
            check_standing(connection, comment.creator, self._clock.now_ms())
            check_unblocked(connection, comment.creator, post.creator)
            connection.execute(
                "UPDATE comments SET doc = ? WHERE post_id = ? AND id = ?",
                (comments.encode_comment(comment), post_id, comment_id),
            )
            connection.execute(
                "UPDATE posts SET latest = ? WHERE id = ?",
                (newest_comments(connection, post_id), post_id),
            )
            return comment

        return await self._database.write(replace)

    async def remove(
        self, post_id: str, comment_id: str, by: Identity, *, decision: Decision | None = None
    ) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            if was_deleted_by(connection, comment_id, by):
                return
            post = _ranked_post(connection, post_id, ready_only=False)
            comment = find_comment(connection, post_id, comment_id)
            creator = "" if comment is None else comment.creator
            if not by.admin and by.user not in {creator, post.creator}:
                _ranked_post(connection, post_id)  # else the post does not exist for this user
            if comment is None:
                raise CommentNotFoundError
            by.require(creator, post.creator)
            delete_comments(connection, [(post_id, comment_id)], by, self._clock.service_ms())
            log_for_owner(connection, decision, creator)

        await self._database.write(delete)


def delete_comments(
    connection: sqlite3.Connection,
    keys: Sequence[tuple[str, str]],
    by: Identity,
    now_ms: int,
) -> None:
    """Delete comments, each by the ids of its post and itself. Their posts' counts and latest
    comments follow, and idempotency records, entries and tombstones. `now_ms` is the time within
    the transaction. Posts that are gone have no counts, and their comments no events."""
    connection.executemany("DELETE FROM comments WHERE post_id = ? AND id = ?", keys)
    clear_records(connection, [comment_id for _, comment_id in keys])
    for post_id, comment_id in keys:
        close_content_entries(connection, Subject(post_id, comment_id))
        add_tombstone(connection, comment_id, by, now_ms, pending=False)
    by_post: dict[str, list[str]] = {}
    for post_id, comment_id in keys:
        by_post.setdefault(post_id, []).append(comment_id)
    for post_id, comment_ids in by_post.items():
        post = find_ranked_post(connection, post_id)
        if post is not None:
            latest = newest_comments(connection, post_id)
            store_count(connection, post, post.rank.total - len(comment_ids), latest, now_ms)
            for comment_id in comment_ids:
                add_event(connection, Event(EventType.COMMENT_DELETED, post_id, comment_id))


def store_count(
    connection: sqlite3.Connection, post: RankedPost, total: int, latest: bytes, now_ms: int
) -> None:
    """Store a post's count and latest comments, and its former rank as a past rank if `change_rank`
    requires it. `now_ms` is the time within the transaction."""
    epoch = _epoch(connection, epoch_of(now_ms))
    rank, past = change_rank(post.id, post.rank, total, epoch)
    if past is not None:
        connection.execute(
            "INSERT OR REPLACE INTO past_ranks (total_comments, id, until, since, creator) "
            "VALUES (?, ?, ?, ?, ?)",
            (*past.place, past.since, post.creator),
        )
        _delete_past_ranks(connection, epoch)
    connection.execute(
        "UPDATE posts SET total_comments = ?, since = ?, latest = ? WHERE id = ?",
        (*rank, latest, post.id),
    )


def newest_comments(connection: sqlite3.Connection, post_id: str) -> bytes:
    """A post's latest comments as JSON lines, newest first, read from the table `comments`."""
    rows = connection.execute(
        "SELECT doc FROM comments WHERE post_id = ? ORDER BY id DESC LIMIT ?",
        (post_id, LATEST_KEPT),
    )
    return comments.join_latest(doc for (doc,) in rows)


def _latest_after(
    connection: sqlite3.Connection, comment: comments.Comment, doc: bytes, latest: bytes
) -> bytes:
    """The latest comments after one was inserted.

    Its id is usually the greatest. But several processes create ids before they queue for the
    writer, so a comment with a smaller id can arrive later.
    """
    newest, _, _ = latest.partition(b"\n")
    if newest and comments.decode_comment(newest).id > comment.id:
        return newest_comments(connection, comment.post_id)
    return comments.with_newest(latest, doc)


def find_ranked_post(
    connection: sqlite3.Connection, post_id: str, *, ready_only: bool = False
) -> RankedPost | None:
    """The rank of a post; None if it is not there."""
    row = connection.execute(
        "SELECT creator, total_comments, since, status FROM posts WHERE id = ?", (post_id,)
    ).fetchone()
    if row is None or (ready_only and row[3] != PostStatus.READY):
        return None
    return RankedPost(post_id, row[0], CurrentRank(*row[1:3]))


def _ranked_post(
    connection: sqlite3.Connection, post_id: str, *, ready_only: bool = True
) -> RankedPost:
    post = find_ranked_post(connection, post_id, ready_only=ready_only)
    if post is None:
        raise PostNotFoundError
    return post


def find_comment(
    connection: sqlite3.Connection, post_id: str, comment_id: str
) -> comments.Comment | None:
    """Read a comment within a transaction; None if it is not there."""
    row = connection.execute(
        "SELECT doc FROM comments WHERE post_id = ? AND id = ?", (post_id, comment_id)
    ).fetchone()
    return None if row is None else comments.decode_comment(row[0])


def _comment(connection: sqlite3.Connection, post_id: str, comment_id: str) -> comments.Comment:
    comment = find_comment(connection, post_id, comment_id)
    if comment is None:
        raise CommentNotFoundError
    return comment


def _epoch(connection: sqlite3.Connection, epoch: int) -> int:
    """The larger of `epoch` and the largest epoch of any write, in case a clock was set back."""
    (largest,) = connection.execute("SELECT epoch FROM feed_clock").fetchone()
    if epoch <= largest:
        return int(largest)
    connection.execute("UPDATE feed_clock SET epoch = ?", (epoch,))
    return epoch


def _delete_past_ranks(connection: sqlite3.Connection, epoch: int) -> None:
    """Delete two past ranks that no cursor needs. They stay one epoch longer than a cursor is
    valid."""
    connection.execute(
        "DELETE FROM past_ranks WHERE (total_comments, id, until) IN (SELECT total_comments, id, "
        "until FROM past_ranks WHERE until < ? ORDER BY until LIMIT ?)",
        (epoch - PAST_EPOCHS, _DELETED_AT_A_TIME),
    )
