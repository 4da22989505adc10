"""The feed in SQLite, and the values that it derives from posts and comments.

The first page of a walk takes one query, a later page two to four. Each query of ranks has an index
of its own (see `schema`), so feed entries need no rebuild. Computed anew are:

- counts and latest comments, by `rebuild` and for an import
- times that a wrong wall clock stored; ids never change
- the greatest stored time, for the service clock
"""

import sqlite3
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, TypeVar

import msgspec

from image_poster.adapters.sqlite.comments import RankedPost, newest_comments, store_count
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed_queries import (
    COLUMNS,
    current_ranks_query,
    first_page_query,
    own_posts_queries,
    past_ranks_query,
    scan_end_query,
)
from image_poster.domain.comments import Comment, decode_comment, encode_comment
from image_poster.domain.feed import (
    EPOCH_MS,
    CurrentRank,
    FeedPage,
    FeedQuery,
    Position,
    Ranked,
    RankSlice,
    epoch_of,
    page_of,
    position_in,
    with_contents,
)
from image_poster.domain.ids import corrected_time, milliseconds_of, plausible_times
from image_poster.domain.posts import Post, PostStatus, StoredPost, decode_post, encode_post
from image_poster.domain.signing import Page
from image_poster.domain.uploads import OwnPost, Upload
from image_poster.ports import Clock
from image_poster.ports.feed import Drift, RebuiltBatch, TimeRepair

# The ids of comments have no index of their own: the feed's epoch covers them.
_GREATEST = (
    "SELECT coalesce((SELECT max(id) FROM posts), ''), "
    "coalesce((SELECT max(id) FROM tombstones), ''), "
    "coalesce((SELECT max(id) FROM decisions), ''), "
    "coalesce((SELECT max(id) FROM entries), ''), epoch FROM feed_clock"
)
# A comment changes the rank of its post, so a past rank ends in the comment's epoch.
_GREATEST_OF_COMMENTS = (
    "SELECT coalesce(max((SELECT max(id) FROM comments WHERE post_id = past_ranks.id)), '') "
    "FROM past_ranks WHERE until = (SELECT epoch FROM feed_clock)"
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
_IDS_AFTER = "SELECT id FROM posts WHERE id > ? ORDER BY id LIMIT ?"
_POSTS_AFTER = (
    "SELECT id, creator, total_comments, since, latest FROM posts WHERE id > ? ORDER BY id LIMIT ?"
)
_POST_BY_ID = "SELECT id, creator, total_comments, since, latest FROM posts WHERE id = ?"
_ADD_COMMENT = (
    "INSERT OR IGNORE INTO comments (post_id, id, creator, doc) SELECT ?1, ?2, ?3, ?4 "
    "WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE id = ?2) "
    "AND NOT EXISTS (SELECT 1 FROM accounts WHERE user = ?3 AND deleting = 1)"
)

Contents = dict[str, StoredPost]
Document = TypeVar("Document", Post, Comment)


class SqliteFeedReader:
    """`FeedReader` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self) -> int | None:
        # Changes with each commit of another connection, in this process or any other; the one that
        # reads never commits. https://www.sqlite.org/pragma.html#pragma_data_version
        return int(self._database.read("PRAGMA data_version")[0][0])

    async def page(self, query: FeedQuery) -> FeedPage:
        contents: Contents = {}
        if query.as_of is None:
            sources = [self._first_page(query, contents)]
        else:
            # In this order: a rank that changes in between has the same position in the second.
            current = self._current_ranks(query, query.as_of, contents)
            sources = [current, self._past_ranks(query, current.resume_at)]
        page = page_of(query, sources)
        self._add_contents([post_id for post_id in page.items if post_id not in contents], contents)
        return with_contents(query, sources, page, contents)

    def _first_page(self, query: FeedQuery, contents: Contents) -> RankSlice:
        sql = first_page_query(query)
        rows = self._database.read(sql.text, *sql.parameters)
        contents.update((row[0], StoredPost(*row)) for row in rows)
        ranks = [Ranked(position_in(query.sort, row[1], row[0])) for row in rows]
        return RankSlice(ranks, ranks[-1].place if len(rows) == query.fetch_limit else None)

    def _current_ranks(self, query: FeedQuery, as_of: int, contents: Contents) -> RankSlice:
        """Current ranks that were already current in the epoch `as_of`."""
        sql, end = current_ranks_query(query, as_of), scan_end_query(query)
        rows = self._database.read(sql.text, *sql.parameters)
        contents.update((row[0], StoredPost(*row[:4])) for row in rows)
        ranks = [Ranked(Position(row[1], row[0]), row[4]) for row in rows]
        if len(rows) == query.fetch_limit:
            return RankSlice(ranks, ranks[-1].place)
        last = self._database.read_one(end.text, *end.parameters)
        return RankSlice(ranks, None if last is None else Position(*last))

    def _past_ranks(self, query: FeedQuery, end: Position | None) -> RankSlice:
        """Past ranks before `end`, the last position that the page can reach."""
        sql = past_ranks_query(query)
        rows = self._database.read_while(
            lambda row: end is None or row[:3] >= end, sql.text, *sql.parameters
        )
        ranks = [Ranked(Position(*row[:3]), row[3]) for row in rows]
        return RankSlice(ranks, ranks[-1].place if len(rows) == query.max_entries else None)

    def _add_contents(self, ids: list[str], contents: Contents) -> None:
        """Read the posts of past ranks that are ready."""
        if ids:
            marks = ", ".join("?" * len(ids))
            rows = self._database.read(
                f"SELECT {COLUMNS} FROM posts WHERE id IN ({marks}) AND status = 'ready'",  # noqa: S608
                *ids,
            )
            contents.update((row[0], StoredPost(*row)) for row in rows)

    async def own_posts(
        self, creator: str, statuses: frozenset[PostStatus], limit: int, after: str | None
    ) -> Page[OwnPost, str]:
        queries = own_posts_queries(creator, statuses, limit + 1, after)
        rows = [row for sql in queries for row in self._database.read(sql.text, *sql.parameters)]
        rows.sort(key=itemgetter(0), reverse=True)
        posts = [_own_post(row) for row in rows[:limit]]
        return Page(posts, posts[-1].stored.id if len(rows) > limit else None)


def _own_post(row: tuple[Any, ...]) -> OwnPost:
    expires_ms = row[5]
    return OwnPost(StoredPost(*row[:4]), None if expires_ms is None else Upload(*row[4:]))


class SqliteFeedRebuilder:
    """`FeedRebuilder` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        def derive(connection: sqlite3.Connection) -> RebuiltBatch:
            now_ms, service_ms = self._clock.now_ms(), self._clock.service_ms()
            batch = (after or "", limit)
            ids = [post_id for (post_id,) in connection.execute(_IDS_AFTER, batch).fetchall()]
            repairs = [_repair_times(connection, post_id, now_ms) for post_id in ids]
            rows = connection.execute(_POSTS_AFTER, batch).fetchall()
            drifts = [_derive_counts(connection, row, service_ms) for row in rows]
            return RebuiltBatch(
                len(rows),
                [drift for drift in drifts if drift is not None],
                rows[-1][0] if rows else None,
                repaired=[repair for repair in repairs if repair is not None],
            )

        return await self._database.write(derive)


class SqliteCommentImporter:
    """Adds comments to posts in any state, with exact counts."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, post_id: str, comments: Sequence[Comment]) -> int:
        """Add the comments that are new and were not deleted, nor their author's account, in one
        transaction. Returns their number, 0 if the post does not exist. Raises
        `StorageFullError`."""
        rows = [
            (post_id, comment.id, comment.creator, encode_comment(comment)) for comment in comments
        ]
        self._database.check_free_space(sum(len(row[3]) for row in rows))

        def insert(connection: sqlite3.Connection) -> int:
            post = connection.execute(_POST_BY_ID, (post_id,)).fetchone()
            if post is None:
                return 0
            added = connection.executemany(_ADD_COMMENT, rows).rowcount
            _cover_times(connection, post_id)
            _derive_counts(connection, post, self._clock.service_ms())
            return added

        return await self._database.write(insert)


def greatest_time(database: Database) -> int:
    """The time (ms since 1970) of the greatest stored epoch and id, except ids of comments in that
    epoch; 0 for an empty database."""
    *ids, epoch = database.read(_GREATEST)[0]
    return max(_time_of(max(ids)), int(epoch) * EPOCH_MS)


def greatest_time_of_comments(database: Database) -> int:
    """The time (ms since 1970) of the greatest id of a comment in the greatest stored epoch; 0
    without one. Reads an entry for each post with a comment in this epoch."""
    return _time_of(database.read(_GREATEST_OF_COMMENTS)[0][0])


def _time_of(id_: str) -> int:
    return milliseconds_of(id_) if id_ else 0


def count_wrong_times(database: Database, now_ms: int) -> int:
    """Count posts and comments with a time that is not plausible. Reads all of them."""
    sql = f"SELECT count(*) FROM ({_WRONG_POSTS} UNION ALL {_WRONG_COMMENTS})"  # noqa: S608 - constants
    return int(database.read(sql, *plausible_times(now_ms))[0][0])


def _cover_times(connection: sqlite3.Connection, post_id: str) -> bool:
    """Raise the feed's epoch beyond that of a post's newest comment and rank if it is smaller.
    Returns True if it was."""
    newest, since = connection.execute(_LAST_CHANGE, (post_id,)).fetchone()
    (before,) = connection.execute("SELECT epoch FROM feed_clock").fetchone()
    epoch = max(since, epoch_of(_time_of(newest)))
    if epoch > before:
        connection.execute(_COVER, (epoch + 1,))
    return bool(epoch > before)


def _repair_times(connection: sqlite3.Connection, post_id: str, now_ms: int) -> TimeRepair | None:
    """Correct the times of a post and of its comments (`corrected_time`), and the feed's epoch.
    Returns None if nothing was wrong."""
    was_ahead = _cover_times(connection, post_id)
    times = plausible_times(now_ms)
    posts = connection.execute(f"{_WRONG_POSTS} AND id = ?3", (*times, post_id)).fetchall()
    for post in (decode_post(head) for (head,) in posts):
        fixed = encode_post(_corrected(post, now_ms))
        connection.execute("UPDATE posts SET head = ? WHERE id = ?", (fixed, post_id))
    comments = connection.execute(f"{_WRONG_COMMENTS} AND post_id = ?3", (*times, post_id))
    wrong = [decode_comment(doc) for (doc,) in comments.fetchall()]
    connection.executemany(
        "UPDATE comments SET doc = ? WHERE post_id = ? AND id = ?",
        [(encode_comment(_corrected(comment, now_ms)), post_id, comment.id) for comment in wrong],
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


def _derive_counts(
    connection: sqlite3.Connection, row: tuple[str, str, int, int, bytes], now_ms: int
) -> Drift | None:
    """Derive a post's count and latest comments from its comments. `row` has its id, creator,
    count, the epoch of that count, and latest comments. Returns the drift, or None."""
    post, latest = RankedPost(row[0], row[1], CurrentRank(*row[2:4])), row[4]
    (counted,) = connection.execute(
        "SELECT count(*) FROM comments WHERE post_id = ?", (post.id,)
    ).fetchone()
    newest = newest_comments(connection, post.id)
    if (counted, newest) == (post.rank.total, latest):
        return None
    store_count(connection, post, counted, newest, now_ms)
    return Drift(post.id, post.rank.total, counted)
