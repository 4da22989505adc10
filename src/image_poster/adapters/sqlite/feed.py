"""The feed in SQLite: one query a page, each answered by an index of its own (see `schema`); counts
and latest comments derived anew."""

import sqlite3

from image_poster.adapters.sqlite.comments import newest_comments
from image_poster.adapters.sqlite.database import Database
from image_poster.domain.feed import FeedPage, FeedQuery, FeedSort, cut_page
from image_poster.domain.posts import StoredPost
from image_poster.ports.feed import Drift, RebuiltBatch

_SELECT = "SELECT id, total_comments, head, latest FROM posts WHERE status = 'ready'"
_ORDER = {
    FeedSort.TOP: " ORDER BY total_comments DESC, id DESC LIMIT ?",
    FeedSort.NEW: " ORDER BY id DESC LIMIT ?",
}


class SqliteFeedReader:
    """`FeedReader` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self) -> int | None:
        # Changes with each commit of another connection, in this process or any other; the one that
        # reads never commits. https://www.sqlite.org/pragma.html#pragma_data_version
        return int(self._database.read("PRAGMA data_version")[0][0])

    async def page(self, query: FeedQuery) -> FeedPage:
        sql, parameters = page_query(query)
        rows = self._database.read(sql, *parameters, query.limit + 1)
        return cut_page([StoredPost(*row) for row in rows], query.limit)


def page_query(query: FeedQuery) -> tuple[str, list[object]]:
    """The SQL of a page, and its parameters but for the limit."""
    sql = _SELECT
    parameters: list[object] = []
    if query.creator is not None:
        sql += " AND creator = ?"
        parameters.append(query.creator)
    if query.after is not None and query.sort is FeedSort.TOP:
        sql += " AND (total_comments, id) < (?, ?)"
        parameters += query.after
    elif query.after is not None:
        sql += " AND id < ?"
        parameters.append(query.after.id)
    return sql + _ORDER[query.sort], parameters


class SqliteFeedRebuilder:
    """`Projection` in SQLite. Feed entries need nothing of their own: they are indexes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        def derive(connection: sqlite3.Connection) -> RebuiltBatch:
            rows = connection.execute(
                "SELECT id, total_comments, latest FROM posts WHERE id > ? ORDER BY id LIMIT ?",
                (after or "", limit),
            ).fetchall()
            drifts = [_derive(connection, *row) for row in rows]
            found = [drift for drift in drifts if drift is not None]
            return RebuiltBatch(len(rows), found, rows[-1][0] if rows else None)

        return await self._database.write(derive)


def _derive(
    connection: sqlite3.Connection, post_id: str, total: int, latest: bytes
) -> Drift | None:
    (counted,) = connection.execute(
        "SELECT count(*) FROM comments WHERE post_id = ?", (post_id,)
    ).fetchone()
    newest = newest_comments(connection, post_id)
    if (counted, newest) == (total, latest):
        return None
    connection.execute(
        "UPDATE posts SET total_comments = ?, latest = ? WHERE id = ?", (counted, newest, post_id)
    )
    return Drift(post_id, total, counted)
