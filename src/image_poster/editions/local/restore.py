"""`image-poster restore`: a new data folder from one generation of a backup.

Every name, size and hash is checked, because other programs may write to the backup's target. The
database gets its name last, so an incomplete folder does not start.

The losses of a data folder since its last backup stop the next backup. An operator may name the
wrong folder, forget to mount a disk, or put an older database back. A post that a person deleted
leaves a tombstone for 7 days. A post that is gone without one was lost.
"""

import os
import sqlite3
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from image_poster.adapters.files.filesystem import ConfinedFolder, sync
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.files.uploads import trust_uploads
from image_poster.adapters.oidc import REVOCATIONS
from image_poster.domain.idempotency import KEPT_MS
from image_poster.domain.ids import new_id
from image_poster.editions import OperationFailedError, StartError
from image_poster.editions.local import data_folder, generations, snapshot
from image_poster.editions.local.generations import BackupTarget, Generation, Manifest
from image_poster.editions.local.keys import TOKEN_KEY
from image_poster.editions.local.ownership import make_private, prepare_folder
from image_poster.editions.local.snapshot import CopiedFile, ReportProgress

_FRESH_DATABASE = f"{data_folder.DATABASE}.new"


@dataclass(frozen=True)
class RestoreOptions:
    """The generation (the newest one if empty), and the parts of the source's identity that the new
    folder takes over."""

    generation: str = ""
    keep_tokens: bool = False
    new_id: bool = False


class RestoreReport(NamedTuple):
    """The generation that was restored, and the number of its files."""

    generation: str
    files: int


class _Item(NamedTuple):
    """A file to restore: from which folder, under which name."""

    folder: ConfinedFolder
    file: CopiedFile
    name: str


def restore(
    source: Path, data_dir: Path, report: ReportProgress, options: RestoreOptions
) -> RestoreReport:
    """Make an empty data folder that equals a generation in `source`: a backup's target, or one
    generation in it. Raises `StartError`; then nothing is left that could start."""
    source, options = _target_of(source, options)
    event = f"restoring {source} to {data_dir} failed"
    with snapshot.failures_as_sentences(event, "Nothing was restored."), ExitStack() as stack:
        place = BackupTarget(stack.enter_context(ConfinedFolder(source)), report)
        generation, newest = _choose_generation(place, options.generation)
        _require_empty(data_dir, source)
        manifest = place.read_manifest(generation.name)
        folder = stack.enter_context(place.folder.subfolder(generation.name))
        database = _Item(folder, manifest.database, _FRESH_DATABASE)
        items = _list_items(folder, manifest, options)
        if newest != generation:
            recent = stack.enter_context(place.folder.subfolder(newest.name))
            items = _replace_revocations(items, place, newest, recent, options)
        for item in (*items, database):
            _check_file(item)
        folder_id = new_id() if options.new_id or not generation.source else generation.source
        _write(data_dir, items, database, folder_id, report)
    return RestoreReport(generation.name, len(manifest.files))


def _target_of(source: Path, options: RestoreOptions) -> tuple[Path, RestoreOptions]:
    """The target that a generation's own folder is in, because it has later revocations."""
    folder = source.resolve()
    is_target = (folder.parent / generations.TARGET_MARK).is_file()
    is_in_target = is_target and generations.is_generation_name(folder.name)
    if options.generation or not is_in_target:
        return source, options
    return folder.parent, replace(options, generation=folder.name)


def _require_empty(data_dir: Path, source: Path) -> None:
    if data_dir.resolve().is_relative_to(source.resolve()):
        raise StartError(f"{data_dir} is in the backup {source}: name a folder outside of it.")
    names = {path.name for path in data_dir.iterdir()} if data_dir.exists() else set()
    if not names <= data_folder.OF_FILE_SYSTEM:
        raise StartError(f"{data_dir} is not empty: move its files elsewhere, or name another.")


def _choose_generation(place: BackupTarget, name: str) -> tuple[Generation, Generation]:
    """The generation of this name (the newest one if empty), and the newest of the same source."""
    generations = place.list_generations()
    if not generations:
        raise StartError(f"{place.path} is no backup: it has no complete generation.")
    chosen = next((g for g in generations if g.name == name), None) if name else generations[-1]
    if chosen is None:
        names = ", ".join(generation.name for generation in generations)
        raise StartError(f"{place.path} has no generation {name}. It has {names}.")
    return chosen, [g for g in generations if g.source == chosen.source][-1]


def _list_items(folder: ConfinedFolder, manifest: Manifest, options: RestoreOptions) -> list[_Item]:
    """The files of a generation, without those that the new folder creates itself."""
    excluded = {data_folder.MARK}
    if not options.keep_tokens:
        excluded.add(TOKEN_KEY)
    if options.new_id:
        excluded.add(data_folder.CURSOR_KEY)
    files = (file for file in manifest.files if file.path not in excluded)
    return [_Item(folder, file, file.path) for file in files]


def _replace_revocations(
    items: list[_Item],
    place: BackupTarget,
    newest: Generation,
    folder: ConfinedFolder,
    options: RestoreOptions,
) -> list[_Item]:
    """Take the token key and the revocations from the newest generation: a token that was revoked
    after the older one stays revoked. Without tokens a damaged newest one does not matter."""
    try:
        recent = _list_items(folder, place.read_manifest(newest.name), options)
    except OperationFailedError:
        if options.keep_tokens:
            raise
        return items
    names = {TOKEN_KEY, REVOCATIONS}
    return [
        *(item for item in items if item.name not in names),
        *(item for item in recent if item.name in names),
    ]


def _check_file(item: _Item) -> None:
    path = item.folder.path / item.file.path
    try:
        state = item.folder.stat(item.file.path)
    except FileNotFoundError as exc:
        raise _backup_error(f"{path} is missing") from exc
    except OSError as exc:
        raise _backup_error(f"{path} leads out of the backup: a part of it is a link") from exc
    if not S_ISREG(state.st_mode):
        raise _backup_error(f"{path} is a link, or no plain file")
    if state.st_size != item.file.size:
        raise _backup_error(f"{path} has another size than in the backup")


def _write(
    data_dir: Path, items: list[_Item], database: _Item, folder_id: str, report: ReportProgress
) -> None:
    """Write all files, as the owner of the data folder; after a failure remove them again."""
    owner, was_there = _Owner(data_dir), data_dir.exists()
    with owner:
        prepare_folder(data_dir)
        make_private(data_dir, report)
        lock = data_folder.lock_for_server(data_dir)
        lock.__enter__()
        if os.geteuid() == 0:
            report(f"{data_dir} belongs to root: change its owner to the server's user (chown -R)")
    with ExitStack() as stack:
        stack.push(lock)
        data = stack.enter_context(ConfinedFolder(data_dir))
        try:
            unit = f"of {len(items):,} files"
            for item in snapshot.report_progress((*items, database), report, unit):
                _write_file(item, data, owner)
            with owner:
                _finish_database(data_dir, folder_id)
        except BaseException:
            with suppress(OSError), owner:
                names = [item.name for item in items]
                generations.remove_files(data, [*names, _FRESH_DATABASE, data_folder.MARK])
                data.remove(data_folder.SERVER_LOCK)
                if not was_there:
                    data_dir.rmdir()
            raise


def _write_file(item: _Item, data: ConfinedFolder, owner: "_Owner") -> None:
    path = item.folder.path / item.file.path
    with item.folder.open(item.file.path) as file, owner:
        size, mtime_ns = item.file.size, item.file.mtime_ns
        copy = snapshot.copy_file(file, data, item.name, size=size, mtime_ns=mtime_ns)
    if (copy.size, copy.sha256) != (item.file.size, item.file.sha256):
        raise _backup_error(f"{path} has another content than in the backup")


def _finish_database(data_dir: Path, folder_id: str) -> None:
    """Check the database, and give it its name: from then on the folder can start."""
    fresh = data_dir / _FRESH_DATABASE
    with closing(sqlite3.connect(fresh)) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _backup_error(f"its database has {verdict}")
    trust_uploads(Layout(data_dir))
    data_folder.write_mark(data_dir, folder_id)
    fresh.rename(data_folder.database_path(data_dir))
    sync(data_dir)


def _backup_error(fault: str) -> OperationFailedError:
    return OperationFailedError(
        f"the backup is damaged: {fault}. Nothing was restored. Restore another generation with "
        "--generation, or another copy of the backup; move the damaged generation elsewhere."
    )


class _Owner:
    """Root acts as the owner of the data folder while it writes there, so that the service can use
    all of it. For another user, or a new folder, this changes nothing."""

    def __init__(self, data_dir: Path) -> None:
        owner = data_dir.stat() if data_dir.exists() else None
        is_other = owner is not None and os.geteuid() == 0 and owner.st_uid != 0
        self._ids = (owner.st_uid, owner.st_gid) if owner and is_other else None

    def __enter__(self) -> None:
        if self._ids:
            os.setegid(self._ids[1])
            os.seteuid(self._ids[0])

    def __exit__(self, *_: object) -> None:
        if self._ids:
            os.seteuid(0)
            os.setegid(0)


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
