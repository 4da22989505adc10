"""The feed in SQLite.

The first page of a walk takes one query, a later page two to four. Each query has an index of its
own (see `schema`), so feed entries need no rebuild. A query reads no more entries than its page
needs. The values that derive from comments are rebuilt in `maintenance`.
"""

from operator import itemgetter
from typing import Any, NamedTuple

from image_poster.adapters.sqlite.database import Database
from image_poster.domain.feed import (
    FeedPage,
    FeedQuery,
    FeedSort,
    Position,
    Ranked,
    RankSlice,
    page_of,
    position_in,
    with_contents,
)
from image_poster.domain.posts import PostStatus, StoredPost
from image_poster.domain.signing import Page
from image_poster.domain.uploads import OwnPost, Upload

COLUMNS = "posts.id, posts.total_comments, posts.head, posts.latest"


class Sql(NamedTuple):
    """A statement and its parameters."""

    text: str
    parameters: tuple[object, ...]


def first_page_query(query: FeedQuery) -> Sql:
    """The query for current ranks behind the query's position, with their posts."""
    ready = _ranks_behind(query, COLUMNS)
    return Sql(f"{ready.text} LIMIT ?", (*ready.parameters, query.fetch_limit))


def current_ranks_query(query: FeedQuery, as_of: int) -> Sql:
    """The query for the next `max_entries` entries of the index that were current at the end of the
    epoch `as_of`, with their posts. CROSS JOIN keeps the order of its left side."""
    near = _ranks_behind(query, "rowid AS row, since")
    return Sql(
        f"SELECT {COLUMNS}, near.since FROM ({near.text} LIMIT ?) AS near "  # noqa: S608 - constants
        "CROSS JOIN posts ON posts.rowid = near.row WHERE near.since <= ? LIMIT ?",
        (*near.parameters, query.max_entries, as_of, query.fetch_limit),
    )


def scan_end_query(query: FeedQuery) -> Sql:
    """The query for the last entry that `current_ranks_query` reads, if it reached its limit."""
    near = _ranks_behind(query, "total_comments, id")
    return Sql(f"{near.text} LIMIT 1 OFFSET ?", (*near.parameters, query.max_entries - 1))


def past_ranks_query(query: FeedQuery) -> Sql:
    """The query for the next `max_entries` past ranks, of all epochs."""
    text = "SELECT total_comments, id, until, since FROM past_ranks WHERE true"
    parameters: list[object] = []
    if query.creator is not None:
        text += " AND creator = ?"
        parameters.append(query.creator)
    if query.before is not None:
        text += " AND (total_comments, id, until) < (?, ?, ?)"
        parameters += query.before
    return Sql(
        f"{text} ORDER BY total_comments DESC, id DESC, until DESC LIMIT ?",
        (*parameters, query.max_entries),
    )


def _ranks_behind(query: FeedQuery, columns: str) -> Sql:
    """The query for ready posts behind the query's position, in its order."""
    text = f"SELECT {columns} FROM posts WHERE status = 'ready'"  # noqa: S608 - constants
    parameters: list[object] = []
    if query.creator is not None:
        text += " AND creator = ?"
        parameters.append(query.creator)
    if query.before is not None and query.sort is FeedSort.TOP:
        text += " AND (total_comments, id) < (?, ?)"
        parameters += query.before[:2]
    elif query.before is not None:
        text += " AND id < ?"
        parameters.append(query.before.id)
    by = "total_comments DESC, id DESC" if query.sort is FeedSort.TOP else "id DESC"
    return Sql(f"{text} ORDER BY {by}", tuple(parameters))


_OWN_POSTS = (
    "SELECT id, total_comments, head, latest, length, expires_at, metadata, sha256, content_type "
    "FROM posts LEFT JOIN uploads ON post_id = id "
    "WHERE creator = ?1 AND {} AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3"
)


def own_posts_queries(
    creator: str, statuses: frozenset[PostStatus], limit: int, after: str | None
) -> list[Sql]:
    """The queries for a creator's posts of these statuses. Ready posts and the others have an index
    each."""
    others = sorted(statuses - {PostStatus.READY})
    queries = []
    if PostStatus.READY in statuses:
        queries.append(Sql(_OWN_POSTS.format("status = 'ready'"), (creator, after, limit)))
    if others:
        marks = ", ".join(f"?{number}" for number in range(4, 4 + len(others)))
        text = _OWN_POSTS.format(f"status <> 'ready' AND status IN ({marks})")
        queries.append(Sql(text, (creator, after, limit, *others)))
    return queries


Contents = dict[str, StoredPost]


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
