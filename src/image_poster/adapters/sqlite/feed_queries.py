"""The queries of the feed and of a creator's own posts. Each has an index of its own (`schema`),
and reads no more entries than its page needs."""

from typing import NamedTuple

from image_poster.domain.feed import FeedQuery, FeedSort
from image_poster.domain.posts import PostStatus

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
