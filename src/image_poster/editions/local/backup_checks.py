"""Checks before a backup writes anything: an operator may name the wrong folder, forget to mount a
disk, or put an older database back.

A post that a person deleted leaves a tombstone for 7 days. A post that is gone without one was
lost.
"""

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from image_poster.adapters.files.schema import POST_FOLDERS
from image_poster.domain.idempotency import KEPT_MS
from image_poster.editions import OperationFailedError, StartError
from image_poster.editions.local.generations import FORMAT, BackupTarget, Manifest, TargetMark
from image_poster.editions.local.snapshot import open_existing

_NANOSECONDS = 1_000_000
_OVERRIDE = "If that is as it should be, pass --allow-loss, once."
_POSTS = "SELECT id FROM posts WHERE status = 'ready'"


@dataclass(frozen=True)
class BackupOptions:
    """The number of generations to keep, and the refusals that the operator overrides."""

    keep: int = 7
    allow_other_files: bool = False
    allow_other_source: bool = False
    allow_loss: bool = False


def require_apart(data_dir: Path, target: Path) -> None:
    """Raises `StartError` if one of the two folders is in the other."""
    data, place = data_dir.resolve(), target.resolve()
    parts = [data, *((data_dir / name).resolve() for name in POST_FOLDERS)]
    if any(place.is_relative_to(part) for part in parts):
        raise StartError(f"{target} is in the data folder: a backup belongs on another disk.")
    if any(part.is_relative_to(place) for part in parts):
        raise StartError(f"the data folder {data_dir} is in {target}: name a folder of its own.")


def check_target(place: BackupTarget, source_id: str, options: BackupOptions) -> TargetMark:
    """The target's mark, or a new one. Raises `OperationFailedError` for a target that holds other
    files, or another source's backups."""
    mark = place.mark()
    if mark is None:
        if not place.is_empty() and not options.allow_other_files:
            raise OperationFailedError(
                f"{place.path} is not empty, and no backup of this service. Nothing was changed. "
                "Name a folder of its own, or pass --allow-other-files to back up beside its files."
            )
        return TargetMark(FORMAT, source_id)
    if mark.source == source_id:
        return mark
    if not options.allow_other_source:
        raise OperationFailedError(
            f"{place.path} holds backups of another data folder (id {mark.source}); this one has "
            f"the id {source_id}. Nothing was changed. Is this the right folder, and is its disk "
            "mounted? Name another target, or pass --allow-other-source, once, to go on here with "
            "this one: the backups there stay."
        )
    return msgspec.structs.replace(mark, source=source_id)


def check_losses(
    snapshot: sqlite3.Connection, originals: int, former: Manifest, folder: Path
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
    database = folder / former.database.path
    try:
        with closing(open_existing(database, immutable=True)) as copy:
            lost = _count_lost(snapshot, copy) if _is_recent(former) else 0
            is_older = _is_older(snapshot, copy)
    except sqlite3.Error:
        return  # the former copy is damaged, and tells nothing
    if lost or is_older:
        raise OperationFailedError(
            f"the database is older than its last backup {folder}: "
            + (f"{lost:,} posts of that are gone, and nobody deleted them. " if lost else "")
            + "Nothing was changed. Put the right database back, or restore that backup (docs/"
            f"operations.md). {_OVERRIDE}"
        )


def _is_recent(former: Manifest) -> bool:
    """Whether every deletion since then still has its tombstone."""
    age_ms = time.time_ns() // _NANOSECONDS - former.database.mtime_ns // _NANOSECONDS
    return 0 <= age_ms < KEPT_MS


def _count_lost(snapshot: sqlite3.Connection, former: sqlite3.Connection) -> int:
    known = {id_ for (id_,) in snapshot.execute("SELECT id FROM posts")}
    known.update(id_ for (id_,) in snapshot.execute("SELECT id FROM tombstones"))
    return sum(id_ not in known for (id_,) in former.execute(_POSTS))


def _is_older(snapshot: sqlite3.Connection, former: sqlite3.Connection) -> bool:
    """Whether the schema went back, or under the same schema the largest epoch of any write."""
    version, before = (_schema_version(connection) for connection in (snapshot, former))
    return version < before or (version == before and _epoch(snapshot) < _epoch(former))


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _epoch(connection: sqlite3.Connection) -> int:
    """The largest epoch of any write (`adapters/sqlite/schema.py`); 0 for a schema without it."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'feed_clock'").fetchone():
        return 0
    row = connection.execute("SELECT epoch FROM feed_clock").fetchone()
    return int(row[0]) if row else 0
