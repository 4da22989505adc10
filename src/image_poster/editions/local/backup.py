"""`image-poster backup`: a new generation of a data folder as it was at one moment, copied beside a
running server or without one.

The database is copied first (`snapshot.py`), then the files of the posts in that copy. A post whose
files are missing by then was deleted, so it is removed from the copy of the database too. The
manifest is written last. Until then the target's mark names the folder as unfinished, and the next
run removes it.
"""

import fcntl
import hashlib
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from image_poster.adapters.files.confined import ConfinedFolder
from image_poster.adapters.files.durable import ensure_folder
from image_poster.adapters.files.schema import (
    POST_FOLDERS,
    original_name,
    post_of,
    rendition_names,
)
from image_poster.editions import OperationFailedError, StartError
from image_poster.editions.local.backup_checks import (
    BackupOptions,
    check_losses,
    check_target,
    require_apart,
)
from image_poster.editions.local.data_folder import database_path
from image_poster.editions.local.failures import failures_as_sentences
from image_poster.editions.local.folder_mark import identify_folder
from image_poster.editions.local.generations import (
    DATABASE,
    FORMAT,
    MANIFEST,
    TARGET_MARK,
    BackupTarget,
    CopiedFile,
    Manifest,
    Report,
    TargetMark,
    copy_file,
    is_layout_name,
    read_chunks,
)
from image_poster.editions.local.ownership import require_readable
from image_poster.editions.local.snapshot import copy_database, open_existing

_ADVICE = (
    "The earlier backups are whole. Free some space there if that is the cause, and run the "
    "command again: it removes the rest of this one."
)
_REPORT_EVERY = 500
_POST_TABLES = (("posts", "id"), ("comments", "post_id"), ("uploads", "post_id"))


class BackupReport(NamedTuple):
    """The result of a backup. `copied` counts the files that are no links; `incomplete` lists ready
    posts that lack a file, and keys that cannot be read."""

    generation: str
    files: int
    copied: int
    incomplete: list[str]


def back_up(
    data_dir: Path, target: Path, report: Report, options: BackupOptions | None = None
) -> BackupReport:
    """Copy the data folder into a new generation in `target`, beside a running server or without
    one. Raises `StartError`."""
    options = options or BackupOptions()
    require_readable(data_dir)
    if not database_path(data_dir).exists():
        raise StartError(f"there is no database in {data_dir}: pass --data-dir, or mount its disk.")
    require_apart(data_dir, target)
    os.umask(0o077)
    with failures_as_sentences(f"the backup to {target} broke off", _ADVICE):
        source_id = identify_folder(data_dir)
        ensure_folder(target)
        with (
            ConfinedFolder(target) as folder,
            ConfinedFolder(data_dir, follow_folders=True) as source,
        ):
            place = BackupTarget(folder, report)
            check_target(place, source_id, options)  # a refusal creates no file, not even the lock
            with place.locked():
                mark = check_target(place, source_id, options)
                return _Backup(source, place, mark, report, options).run()


class _UnreadableError(Exception):
    """A file of the data folder cannot be read, while others may be."""


@dataclass
class _Backup:
    source: ConfinedFolder
    place: BackupTarget
    mark: TargetMark
    report: Report
    options: BackupOptions
    copied: int = 0
    unreadable: list[str] = field(default_factory=list)
    former_files: dict[str, CopiedFile] = field(default_factory=dict)

    def run(self) -> BackupReport:
        is_first_mark = TARGET_MARK not in self.place.folder.names()
        self._remove_leftovers()
        name = self.place.free_name()
        self._write_mark(unfinished=name)
        try:
            self.place.folder.create_folder(name)
            with self.place.folder.subfolder(name) as generation:
                files, incomplete = self._fill(generation)
        except BaseException:
            with suppress(OSError):  # else the next run does it
                self.place.discard(name)
                self._write_mark(unfinished="")
                if is_first_mark:
                    self.place.folder.remove(TARGET_MARK)
            raise
        self._write_mark(unfinished="")
        if not incomplete:
            self._expire()
        return BackupReport(name, files, self.copied, incomplete)

    def _fill(self, generation: ConfinedFolder) -> tuple[int, list[str]]:
        """Write the whole generation, its manifest last."""
        generations = self.place.generations()
        number = self.place.next_number(generations)
        former = next((g for g in reversed(generations) if g.source == self.mark.source), None)
        self.report("copying the database")
        snapshot = generation.path / DATABASE
        copy_database(database_path(self.source.path), snapshot)
        generation.give_to_owner(DATABASE)
        with closing(open_existing(snapshot)) as database:
            posts = _read_posts(database, self.source.path)
            if former is None:
                files, incomplete = self._copy_all(posts, database, generation, generation)
            else:
                manifest = self.place.manifest(former.name)
                self.former_files = {file.path: file for file in manifest.files}
                with self.place.folder.subfolder(former.name) as former_folder:
                    if not self.options.allow_loss:
                        originals = self._count_originals(posts)
                        check_losses(database, originals, manifest, former_folder.path)
                    files, incomplete = self._copy_all(posts, database, generation, former_folder)
            database.commit()
        manifest = Manifest(
            FORMAT, self.mark.source, number, database=_entry(generation), files=files
        )
        generation.sync_disk()
        generation.replace(MANIFEST, msgspec.json.encode(manifest))
        return len(files), incomplete

    def _count_originals(self, posts: dict[str, str]) -> int:
        shards = {original_name(post_id).rpartition("/")[0] for post_id in posts}
        return sum(name in posts for shard in shards for name in self.source.names(shard))

    def _copy_all(
        self,
        posts: dict[str, str],
        database: sqlite3.Connection,
        generation: ConfinedFolder,
        former: ConfinedFolder,
    ) -> tuple[list[CopiedFile], list[str]]:
        """Copy the files of all posts, and the keys. Posts that were deleted since are removed from
        the copy of the database."""
        self.report("copying files")
        files_of = defaultdict[str, list[CopiedFile]](list)
        for path in self._paths(posts):
            copy = self._copy(path, generation, former)
            if copy is not None:
                files_of[post_of(path) or ""].append(copy)
        incomplete = []
        for post_id, status in posts.items():
            if _required_names(post_id, status) <= {file.path for file in files_of[post_id]}:
                continue
            if self._is_live(post_id):
                incomplete.append(post_id)
                continue
            _remove_post(database, post_id)
            for file in files_of.pop(post_id, []):
                generation.remove(file.path)
        incomplete += (path for path in self.unreadable if post_of(path) is None)
        return [file for files in files_of.values() for file in files], incomplete

    def _paths(self, posts: dict[str, str]) -> Iterator[str]:
        """The paths of the keys, and of all files of the posts. An upload may become an original at
        any time, so the folders come in that order."""
        yield from (name for name in self.source.names() if is_layout_name(name))
        for parent in POST_FOLDERS:
            for shard in self.source.names(parent):
                for name in self.source.names(f"{parent}/{shard}"):
                    path = f"{parent}/{shard}/{name}"
                    if post_of(path) in posts:
                        yield path

    def _copy(
        self, path: str, generation: ConfinedFolder, former: ConfinedFolder
    ) -> CopiedFile | None:
        """Link or copy one file; None if it is missing, or cannot be read."""
        try:
            copy = self._linked(path, generation, former)
            return copy or self._copied(path, generation)
        except FileNotFoundError:
            return None
        except _UnreadableError as exc:
            self.report(f"{path} cannot be read: {exc}")
            self.unreadable.append(path)
            generation.remove(path)
            return None

    def _linked(
        self, path: str, generation: ConfinedFolder, former: ConfinedFolder
    ) -> CopiedFile | None:
        """Link a file that has not changed since the former generation."""
        known = self.former_files.get(path)
        if known is None:
            return None
        with suppress(OSError):  # then the copy tells, or mends what the former generation lost
            state = self.source.stat(path)
            is_unchanged = (known.size, known.mtime_ns) == (state.st_size, state.st_mtime_ns)
            is_whole = is_unchanged and former.stat(path).st_size == known.size
            if is_whole and generation.link_from(former, path):
                return known
        return None

    def _copied(self, path: str, generation: ConfinedFolder) -> CopiedFile:
        try:
            file = self.source.open(path)
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise _UnreadableError(exc) from exc
        with file:
            size, state = self._verified_size(file, path), os.fstat(file.fileno())
            chunks = _readable(read_chunks(file, size))
            copy = copy_file(chunks, generation, path, max(0, state.st_mtime_ns))
        self.copied += 1
        if self.copied % _REPORT_EVERY == 0:
            self.report(f"{self.copied:,} files copied")
        return copy

    def _verified_size(self, file: BinaryIO, path: str) -> int:
        """The number of verified bytes: those of an upload without the part whose checksum is
        missing. Holds the lock that writers acquire (`adapters/files/uploads.py`)."""
        if not path.startswith("uploads/"):
            return os.fstat(file.fileno()).st_size
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            with suppress(FileNotFoundError):
                return int(self.source.read(f"{path}.unverified"))
            return os.fstat(file.fileno()).st_size
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def _is_live(self, post_id: str) -> bool:
        """True if the database has the post, or cannot be opened: a read-only disk loses none."""
        try:
            with closing(open_existing(database_path(self.source.path))) as live:
                row = live.execute("SELECT 1 FROM posts WHERE id = ?", (post_id,)).fetchone()
        except sqlite3.Error:
            return True
        return row is not None

    def _remove_leftovers(self) -> None:
        """Remove the folders that an earlier run left: one unfinished, others expired."""
        if self.mark.unfinished:
            self.place.discard(self.mark.unfinished)
            self.place.folder.sync_disk()
            self._write_mark(unfinished="")
        self._remove_expired()

    def _expire(self) -> None:
        """Remove the oldest generations of this source, now that a newer one is complete."""
        own = [g.name for g in self.place.generations() if g.source == self.mark.source]
        try:
            self._write_mark(expired=tuple(own[: -self.options.keep]))
            self._remove_expired()
        except OSError as exc:
            self.report(f"old generations in {self.place.path} could not be removed: {exc}")

    def _remove_expired(self) -> None:
        for name in self.mark.expired:
            try:
                self.place.remove_generation(name)
            except OperationFailedError as exc:
                self.report(f"{name} was not removed: {exc}")
        if self.mark.expired:
            self.place.folder.sync_disk()  # before the mark forgets them
            self._write_mark(expired=())

    def _write_mark(self, **changes: str | tuple[str, ...]) -> None:
        mark = msgspec.structs.replace(self.mark, **changes)
        if mark != self.mark or TARGET_MARK not in self.place.folder.names():
            self.place.write_mark(mark)
            self.mark = mark


def _read_posts(database: sqlite3.Connection, data_dir: Path) -> dict[str, str]:
    """The status of each post, by id. Raises `OperationFailedError` for a database that is new."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'posts'").fetchone():
        raise OperationFailedError(
            f"the database in {data_dir} is new or empty. Nothing was changed. Is this the right "
            "folder, and is its disk mounted?"
        )
    return dict(database.execute("SELECT id, status FROM posts").fetchall())


def _required_names(post_id: str, status: str) -> set[str]:
    """The files without which a post is not whole, as `adapters/files/schema.py` has them."""
    names = {original_name(post_id)} if status in {"ready", "processing"} else set()
    return names | rendition_names(post_id) if status == "ready" else names


def _readable(chunks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except OSError as exc:
        raise _UnreadableError(exc) from exc


def _entry(generation: ConfinedFolder) -> CopiedFile:
    with generation.open(DATABASE) as file:
        digest, state = hashlib.file_digest(file, "sha256"), os.fstat(file.fileno())
    return CopiedFile(DATABASE, state.st_size, max(0, state.st_mtime_ns), digest.hexdigest())


def _remove_post(database: sqlite3.Connection, post_id: str) -> None:
    for table, key in _POST_TABLES:
        database.execute(f"DELETE FROM {table} WHERE {key} = ?", (post_id,))  # noqa: S608 - constants
