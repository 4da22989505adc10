"""`image-poster backup`: a new generation of a data folder as it was at one moment, copied beside a
running server or without one.

A post whose files are missing once its row was copied was deleted, so it is removed from the copy
of the database too. The manifest is written last. Until then the target's mark names the folder as
unfinished, and the next run removes it.

Checks come before anything is written (`check_losses`).
"""

import fcntl
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from image_poster.adapters.files.filesystem import ConfinedFolder
from image_poster.adapters.files.schema import original_name, post_of, rendition_names
from image_poster.adapters.sqlite.entries import close_content_entries
from image_poster.domain.moderation import Subject
from image_poster.domain.posts import WITHHELD, PostStatus
from image_poster.editions import OperationFailedError
from image_poster.editions.local import data_folder, generations, snapshot
from image_poster.editions.local.generations import (
    BackupOptions,
    BackupTarget,
    Manifest,
    TargetMark,
)
from image_poster.editions.local.restore import check_losses
from image_poster.editions.local.snapshot import CopiedFile, ReportProgress

_ADVICE = (
    "The earlier backups are complete. If the target has too little free space, delete other files "
    "there. Run the command again: it removes the incomplete generation."
)
_POST_TABLES = (("posts", "id"), ("comments", "post_id"), ("uploads", "post_id"))
_WITH_RENDITIONS = {PostStatus.READY, *WITHHELD}
_WITH_ORIGINAL = {PostStatus.PROCESSING, *_WITH_RENDITIONS}


class BackupReport(NamedTuple):
    """The result of a backup. `copied` counts the files that are no links; `incomplete` lists ready
    posts that lack a file, and keys that cannot be read."""

    generation: str
    files: int
    copied: int
    incomplete: list[str]


def back_up(
    data_dir: Path, target: Path, report: ReportProgress, options: BackupOptions
) -> BackupReport:
    """Copy the data folder into a new generation in `target`, beside a running server or without
    one. Raises `StartError`."""
    snapshot.require_source(data_dir, target)
    with snapshot.failures_as_sentences(f"the backup to {target} failed", _ADVICE):
        source_id = data_folder.identify_folder(data_dir)
        with snapshot.open_folders(data_dir, target) as (source, folder):
            place = BackupTarget(folder, report)
            place.check(source_id, options)  # a refusal creates no file, not even the lock
            with place.locked():
                mark = place.check(source_id, options)
                return _Backup(source, place, mark, report, options).run()


@dataclass
class _Backup:
    source: ConfinedFolder
    place: BackupTarget
    mark: TargetMark
    report: ReportProgress
    options: BackupOptions
    copied: int = 0
    unreadable: list[str] = field(default_factory=list)
    former_files: dict[str, CopiedFile] = field(default_factory=dict)

    def run(self) -> BackupReport:
        is_first_mark = generations.TARGET_MARK not in self.place.folder.names()
        self._remove_leftovers()
        name = self.place.next_name()
        self._write_mark(unfinished=name)
        try:
            self.place.folder.create_folder(name)
            with self.place.folder.subfolder(name) as generation:
                files, incomplete = self._write_generation(generation)
        except BaseException:
            with suppress(OSError):  # else the next run does it
                self.place.remove_unfinished(name)
                self._write_mark(unfinished="")
                if is_first_mark:
                    self.place.folder.remove(generations.TARGET_MARK)
            raise
        self._write_mark(unfinished="")
        if not incomplete:
            self._remove_oldest()
        return BackupReport(name, files, self.copied, incomplete)

    def _write_generation(self, generation: ConfinedFolder) -> tuple[int, list[str]]:
        """Write the whole generation, its manifest last."""
        earlier = self.place.list_generations()
        number = self.place.next_number(earlier)
        former = next((g for g in reversed(earlier) if g.source == self.mark.source), None)
        self.report("copying the database")
        with snapshot.open_database_copy(self.source, generation, data_folder.DATABASE) as database:
            posts = _read_posts(database, self.source.path)
            if former is None:
                files, incomplete = self._copy_files(posts, database, generation, generation)
            else:
                manifest = self.place.read_manifest(former.name)
                self.former_files = {file.path: file for file in manifest.files}
                with self.place.folder.subfolder(former.name) as former_folder:
                    if not self.options.allow_loss:
                        originals = self._count_originals(posts)
                        check_losses(database, originals, manifest, former_folder.path)
                    files, incomplete = self._copy_files(posts, database, generation, former_folder)
            database.commit()
        entry = generations.database_entry(generation)
        head = (generations.FORMAT, self.mark.source, number)
        manifest = Manifest(*head, database=entry, files=files)
        generation.sync_disk()
        generation.replace(data_folder.MANIFEST, msgspec.json.encode(manifest))
        return len(files), incomplete

    def _count_originals(self, posts: dict[str, str]) -> int:
        shards = {original_name(post_id).rpartition("/")[0] for post_id in posts}
        return sum(name in posts for shard in shards for name in self.source.names(shard))

    def _copy_files(
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
        paths = generations.layout_paths(self.source)
        for path in snapshot.report_progress(paths, self.report, "files"):
            post_id = post_of(path) or ""
            if not post_id or post_id in posts:
                copy = self._copy_file(path, generation, former)
                files_of[post_id] += [copy] if copy else []
        incomplete = []
        for post_id, status in posts.items():
            if not _lacks_files(post_id, status, files_of[post_id]):
                continue
            # A decision may have moved its renditions to a folder that had been copied.
            files_of[post_id] += self._copy_moved(post_id, files_of[post_id], generation, former)
            if not _lacks_files(post_id, status, files_of[post_id]):
                continue
            if self._is_in_database(post_id):
                incomplete.append(post_id)
                continue
            _remove_rows(database, post_id)
            for file in files_of.pop(post_id):
                generation.remove(file.path)
        incomplete += (path for path in self.unreadable if post_of(path) is None)
        return [file for files in files_of.values() for file in files], incomplete

    def _copy_moved(
        self,
        post_id: str,
        copies: list[CopiedFile],
        generation: ConfinedFolder,
        former: ConfinedFolder,
    ) -> Iterator[CopiedFile]:
        """Copy renditions that were moved during the copy."""
        missing = {*chain.from_iterable(rendition_names(post_id))} - {copy.path for copy in copies}
        for path in sorted(missing):
            if copy := self._copy_file(path, generation, former):
                yield copy

    def _copy_file(
        self, path: str, generation: ConfinedFolder, former: ConfinedFolder
    ) -> CopiedFile | None:
        """Link or copy one file; None if it is missing, or cannot be read."""
        try:
            if link := self._link_file(path, generation, former):
                return link
            with snapshot.read_errors():
                file = self.source.open(path)
            with file:
                size, state = self._verified_size(file, path), os.fstat(file.fileno())
                mtime_ns = max(0, state.st_mtime_ns)
                copy = snapshot.copy_file(file, generation, path, size=size, mtime_ns=mtime_ns)
        except FileNotFoundError:
            return None
        except snapshot.UnreadableError as exc:
            self.report(f"{path} cannot be read: {exc.strerror}")
            self.unreadable.append(path)
            generation.remove(path)
            return None
        self.copied += 1
        return copy

    def _link_file(
        self, path: str, generation: ConfinedFolder, former: ConfinedFolder
    ) -> CopiedFile | None:
        """Link a file that has not changed since the former generation."""
        known = self.former_files.get(path)
        if known is None:
            return None
        with suppress(
            OSError
        ):  # then the file is copied, which also repairs a loss of the former generation
            state = self.source.stat(path)
            is_unchanged = (known.size, known.mtime_ns) == (state.st_size, state.st_mtime_ns)
            is_whole = is_unchanged and former.stat(path).st_size == known.size
            if is_whole and generation.link_from(former, path):
                return known
        return None

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

    def _is_in_database(self, post_id: str) -> bool:
        """True if the database has the post, or cannot be opened: a read-only disk loses none."""
        try:
            path = data_folder.database_path(self.source.path)
            with closing(snapshot.open_existing(path)) as live:
                row = live.execute("SELECT 1 FROM posts WHERE id = ?", (post_id,)).fetchone()
        except sqlite3.Error:
            return True
        return row is not None

    def _remove_leftovers(self) -> None:
        """Remove the folders that an earlier run left: one unfinished, others expired."""
        if self.mark.unfinished:
            self.place.remove_unfinished(self.mark.unfinished)
            self.place.folder.sync_disk()
            self._write_mark(unfinished="")
        self._remove_expired()

    def _remove_oldest(self) -> None:
        """Remove the oldest generations of this source, now that a newer one is complete."""
        own = [g.name for g in self.place.list_generations() if g.source == self.mark.source]
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
        if mark != self.mark or generations.TARGET_MARK not in self.place.folder.names():
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


def _remove_rows(database: sqlite3.Connection, post_id: str) -> None:
    """Remove a deleted post from a copy of the database, of this version or an earlier one."""
    for table, key in _POST_TABLES:
        database.execute(f"DELETE FROM {table} WHERE {key} = ?", (post_id,))  # noqa: S608 - constants
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone():
        close_content_entries(database, Subject(post_id))


def _lacks_files(post_id: str, status: str, copies: list[CopiedFile]) -> bool:
    """True if a post is not whole: it lacks its original, or a rendition in both its places."""
    paths = {copy.path for copy in copies}
    if status in _WITH_RENDITIONS and any(map(paths.isdisjoint, rendition_names(post_id))):
        return True
    return status in _WITH_ORIGINAL and original_name(post_id) not in paths
