"""Queries for background work and for the doctor: posts by their status, accounts that are being
deleted, and the length of the moderation queue.

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


def accounts_in_deletion(database: Database) -> list[tuple[str, int]]:
    """The users whose accounts are being deleted, and since when (service clock, in ms since
    1970)."""
    rows = database.read("SELECT user, deleting_since FROM accounts WHERE deleting = 1")
    return [(user, since_ms) for user, since_ms in rows]


def count_open_entries(database: Database) -> tuple[int, str]:
    """The number of open entries of the moderation queue, and the time of the oldest (RFC 3339),
    empty if there is none."""
    sql = "SELECT count(*), coalesce(min(since), '') FROM entries WHERE closed_by IS NULL"
    [(count, oldest)] = database.read(sql)
    return count, oldest
