"""The feed in SQLite: one query a page, each answered by an index of its own (see `schema`)."""

from image_poster.adapters.sqlite.database import Database
from image_poster.domain.feed import FeedPage, FeedQuery, FeedSort, cut_page
from image_poster.domain.posts import StoredPost

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
        sql, parameters = question(query)
        rows = self._database.read(sql, *parameters, query.limit + 1)
        return cut_page([StoredPost(*row) for row in rows], query.limit)


def question(query: FeedQuery) -> tuple[str, list[object]]:
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
