"""Losses of a data folder since its last backup, which stop the next one.

An operator may name the wrong folder, forget to mount a disk, or put an older database back. A post
that a person deleted leaves a tombstone for 7 days. A post that is gone without one was lost.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from image_poster.domain.idempotency import KEPT_MS
from image_poster.editions import OperationFailedError
from image_poster.editions.local import snapshot
from image_poster.editions.local.generations import Manifest

_OVERRIDE = "If you intended this, run the command once with --allow-loss."
_NANOSECONDS = 1_000_000


def check_losses(
    database: sqlite3.Connection, originals: int, former: Manifest, folder: Path
) -> None:
    """Compare a copy of the database, and the number of its posts whose originals are there, with
    the last generation, in `folder`. Raises `OperationFailedError`."""
    before = sum(file.path.startswith("originals/") for file in former.files)
    if originals * 2 < before:
        raise OperationFailedError(
            f"the data folder has {originals:,} posts with their originals, and its last backup "
            f"{folder} has {before:,}. Nothing was changed. Is this the right folder, and is its "
            f"disk mounted? {_OVERRIDE}"
        )
    try:
        with closing(snapshot.open_existing(folder / former.database.path, immutable=True)) as copy:
            lost = _count_lost(database, copy, former)
            is_older = _schema_and_epoch(database) < _schema_and_epoch(copy)
    except sqlite3.Error:
        return  # the former copy is damaged: there is nothing to compare
    if lost or is_older:
        raise OperationFailedError(
            f"the database is older than its last backup {folder}: "
            + (f"{lost:,} of its posts are missing, and no user deleted them. " if lost else "")
            + "Nothing was changed. Put the right database back, or restore that backup (docs/"
            f"operations.md). {_OVERRIDE}"
        )


def _count_lost(database: sqlite3.Connection, copy: sqlite3.Connection, former: Manifest) -> int:
    """The posts of the former generation that were lost; 0 if a deletion since then may have no
    tombstone any more."""
    if not 0 <= (time.time_ns() - former.database.mtime_ns) // _NANOSECONDS < KEPT_MS:
        return 0
    rows = database.execute("SELECT id FROM posts UNION SELECT id FROM tombstones")
    known = {id_ for (id_,) in rows}
    published = copy.execute(
        "SELECT id FROM posts WHERE status IN ('ready', 'hidden', 'in_review')"
    )
    return sum(id_ not in known for (id_,) in published)


def _schema_and_epoch(connection: sqlite3.Connection) -> tuple[int, int]:
    """The version of the schema, and under the same schema the largest epoch of any write
    (`adapters/sqlite/schema.py`); 0 for a schema without it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    row = None
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'feed_clock'").fetchone():
        row = connection.execute("SELECT epoch FROM feed_clock").fetchone()
    return int(version), int(row[0]) if row else 0
