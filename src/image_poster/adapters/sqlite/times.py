"""Stored times: the greatest one, for the start of the service clock, and the repair of times
that a wrong wall clock stored. Ids never change."""

import sqlite3
from typing import TypeVar

import msgspec

from image_poster.adapters.sqlite.comments import newest_comments
from image_poster.adapters.sqlite.database import Database
from image_poster.domain.comments import Comment, decode_comment, encode_comment
from image_poster.domain.feed import EPOCH_MS, epoch_of
from image_poster.domain.ids import corrected_time, milliseconds_of, plausible_times
from image_poster.domain.posts import Post, decode_post, encode_post
from image_poster.ports.feed import TimeRepair

# The ids of comments have no index of their own: the feed's epoch covers them.
_GREATEST = (
    "SELECT coalesce((SELECT max(id) FROM posts), ''), "
    "coalesce((SELECT max(id) FROM tombstones), ''), epoch FROM feed_clock"
)
_COVER = "UPDATE feed_clock SET epoch = max(epoch, ?)"
_LAST_CHANGE = (
    "SELECT coalesce((SELECT max(id) FROM comments WHERE post_id = ?1), ''), since FROM posts "
    "WHERE id = ?1"
)
_IS_WRONG = (
    "(json_extract(CAST({0} AS TEXT), '$.created_at') NOT BETWEEN ?1 AND ?2 "
    "OR json_extract(CAST({0} AS TEXT), '$.edited_at') NOT BETWEEN ?1 AND ?2)"
)
_WRONG_POSTS = f"SELECT head FROM posts WHERE {_IS_WRONG.format('head')}"  # noqa: S608 - constants
_WRONG_COMMENTS = f"SELECT doc FROM comments WHERE {_IS_WRONG.format('doc')}"  # noqa: S608 - constants


Document = TypeVar("Document", Post, Comment)


def greatest_time(database: Database) -> int:
    """The time (ms since 1970) of the greatest stored id or epoch, less than an epoch too small; 0
    for an empty database."""
    post_id, tombstone_id, epoch = database.read(_GREATEST)[0]
    newest = max(post_id, tombstone_id)
    return max(milliseconds_of(newest) if newest else 0, int(epoch) * EPOCH_MS)


def count_wrong_times(database: Database, now_ms: int) -> int:
    """Count posts and comments with a time that is not plausible. Reads all of them."""
    sql = f"SELECT count(*) FROM ({_WRONG_POSTS} UNION ALL {_WRONG_COMMENTS})"  # noqa: S608 - constants
    return int(database.read(sql, *plausible_times(now_ms))[0][0])


def cover_times(connection: sqlite3.Connection, post_id: str) -> bool:
    """Raise the feed's epoch to that of a post's newest comment and rank. Returns True if it was
    smaller."""
    newest, since = connection.execute(_LAST_CHANGE, (post_id,)).fetchone()
    (before,) = connection.execute("SELECT epoch FROM feed_clock").fetchone()
    epoch = max(since, epoch_of(milliseconds_of(newest)) if newest else 0)
    if epoch > before:
        connection.execute(_COVER, (epoch,))
    return bool(epoch > before)


def repair_times(connection: sqlite3.Connection, post_id: str, now_ms: int) -> TimeRepair | None:
    """Correct the times of a post and of its comments (`corrected_time`), and the feed's epoch.
    Returns None if nothing was wrong."""
    was_ahead = cover_times(connection, post_id)
    times = plausible_times(now_ms)
    posts = connection.execute(f"{_WRONG_POSTS} AND id = ?3", (*times, post_id)).fetchall()
    for post in (decode_post(head) for (head,) in posts):
        fixed = encode_post(_corrected(post, now_ms))
        connection.execute("UPDATE posts SET head = ? WHERE id = ?", (fixed, post_id))
    comments = connection.execute(f"{_WRONG_COMMENTS} AND post_id = ?3", (*times, post_id))
    wrong = [decode_comment(doc) for (doc,) in comments.fetchall()]
    connection.executemany(
        "UPDATE comments SET doc = ? WHERE post_id = ? AND id = ?",
        [(encode_comment(_corrected(one, now_ms)), post_id, one.id) for one in wrong],
    )
    if wrong:
        latest = newest_comments(connection, post_id)
        connection.execute("UPDATE posts SET latest = ? WHERE id = ?", (latest, post_id))
    documents = len(posts) + len(wrong)
    return TimeRepair(post_id, documents, was_ahead) if documents or was_ahead else None


def _corrected(document: Document, now_ms: int) -> Document:
    edited_at = document.edited_at
    return msgspec.structs.replace(
        document,
        created_at=corrected_time(document.created_at, milliseconds_of(document.id), now_ms),
        edited_at=None if edited_at is None else corrected_time(edited_at, now_ms, now_ms),
    )
