"""Queries for background work and for the doctor: posts by their status, whatever their creator.

Statuses other than `ready` are rare, and have indexes. A query uses one only if it has the
condition of that index (https://www.sqlite.org/partialindex.html).
"""

from collections.abc import Iterator

from image_poster.adapters.sqlite.database import Database
from image_poster.domain.posts import WITHHELD, PostStatus
from image_poster.ports.images import FileRecord

_POSTS_AT_A_TIME = 500
# A failed post may have renditions too: those of an image that was rejected.
_NOT_PUBLIC = (*WITHHELD, PostStatus.FAILED)
_WITH_RENDITIONS = (PostStatus.READY, *WITHHELD)


def _values(statuses: tuple[PostStatus, ...]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


def posts_not_public(database: Database) -> Iterator[list[str]]:
    """The ids of posts that may have renditions which are not public, in batches."""
    sql = (
        "SELECT id FROM posts INDEXED BY posts_unfinished WHERE status <> 'ready' "  # noqa: S608 - constants
        f"AND status IN ({_values(_NOT_PUBLIC)}) AND id > ? ORDER BY id LIMIT ?"
    )
    after = ""
    while rows := database.read(sql, after, _POSTS_AT_A_TIME):
        yield [post_id for (post_id,) in rows]
        after = rows[-1][0]


def failed_posts(database: Database, before_ms: int) -> list[tuple[str, int]]:
    """The posts that failed by `before_ms`, oldest failure first, and the time of each (service
    clock, in ms since 1970)."""
    sql = "SELECT id, due_at FROM posts WHERE status = 'failed' AND due_at <= ? ORDER BY due_at, id"
    return [(post_id, due_at) for post_id, due_at in database.read(sql, before_ms)]


def files_of_posts(database: Database) -> Iterator[tuple[str, list[FileRecord]]]:
    """The posts with renditions by id, each with the records of its files. Posts of earlier
    versions have no records."""
    sql = (
        f"SELECT id FROM posts WHERE status IN ({_values(_WITH_RENDITIONS)}) "  # noqa: S608 - constants
        "AND id > ? ORDER BY id LIMIT ?"
    )
    after = ""
    while posts := database.read(sql, after, _POSTS_AT_A_TIME):
        for (post_id,) in posts:
            rows = database.read("SELECT name, size, sha256 FROM files WHERE post_id = ?", post_id)
            yield post_id, [FileRecord(*row) for row in rows]
        after = posts[-1][0]
