"""Changes of a post's rank, within the transaction that changes its count."""

import sqlite3
from typing import NamedTuple

from image_poster.domain.feed import PAST_EPOCHS, CurrentRank, Ranked, change_rank, epoch_of

# With each past rank so many are cleared away that nobody needs any more: the table shrinks, and no
# write waits for it.
_CLEARED_AT_A_TIME = 2


class RankedPost(NamedTuple):
    """The stored rank of a post whose count changes."""

    id: str
    creator: str
    held: CurrentRank


def store_rank_change(
    connection: sqlite3.Connection, post: RankedPost, total: int, now_ms: int
) -> CurrentRank:
    """Store the post's former rank as a past rank, if `change_rank` requires it. Returns the new
    rank, which the caller stores with the post. `now_ms` is the time within the transaction."""
    epoch = _epoch(connection, epoch_of(now_ms))
    held, past = change_rank(post.id, post.held, total, epoch)
    if past is not None:
        _keep(connection, past, post.creator)
        _clear(connection, epoch)
    return held


def _epoch(connection: sqlite3.Connection, epoch: int) -> int:
    """The larger of `epoch` and the largest epoch of any write, in case a clock was set back."""
    (largest,) = connection.execute("SELECT epoch FROM feed_clock").fetchone()
    if epoch <= largest:
        return int(largest)
    connection.execute("UPDATE feed_clock SET epoch = ?", (epoch,))
    return epoch


def _keep(connection: sqlite3.Connection, past: Ranked, creator: str) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO past_ranks (total_comments, id, until, since, creator) "
        "VALUES (?, ?, ?, ?, ?)",
        (*past.place, past.since, creator),
    )


def _clear(connection: sqlite3.Connection, epoch: int) -> None:
    """Delete two past ranks that no cursor needs. They stay one epoch longer than a cursor is
    valid."""
    connection.execute(
        "DELETE FROM past_ranks WHERE (total_comments, id, until) IN (SELECT total_comments, id, "
        "until FROM past_ranks WHERE until < ? ORDER BY until LIMIT ?)",
        (epoch - PAST_EPOCHS, _CLEARED_AT_A_TIME),
    )
