"""Import of comments with their ids and times."""

import sqlite3
from collections.abc import Sequence

from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed import derive_counts
from image_poster.adapters.sqlite.times import cover_times
from image_poster.domain.comments import Comment, encode_comment
from image_poster.ports.clock import Clock

_POST = "SELECT id, creator, total_comments, since, latest FROM posts WHERE id = ?"
_ADD = (
    "INSERT OR IGNORE INTO comments (post_id, id, creator, doc) SELECT ?1, ?2, ?3, ?4 "
    "WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE id = ?2)"
)


class SqliteCommentImporter:
    """Adds comments to posts in any state, with exact counts."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, post_id: str, found: Sequence[Comment]) -> int:
        """Add the comments that are new and were not deleted, in one transaction. Returns their
        number, 0 if the post does not exist. Raises `StorageFullError`."""
        rows = [(post_id, one.id, one.creator, encode_comment(one)) for one in found]
        self._database.check_free_space(sum(len(row[3]) for row in rows))

        def insert(connection: sqlite3.Connection) -> int:
            post = connection.execute(_POST, (post_id,)).fetchone()
            if post is None:
                return 0
            added = connection.executemany(_ADD, rows).rowcount
            cover_times(connection, post_id)
            derive_counts(connection, post, self._clock.service_ms())
            return added

        return await self._database.write(insert)
