"""The target of backups: one folder per generation, each with a manifest of its files.

- `backup.json`: the mark (`TargetMark`), with the source and the folders to be removed
- `2026-11-30T03-17-00.123Z/`: a generation, named after its time (UTC)
- its `manifest.json`: its files with sizes and hashes; written last
- its `image_poster.db`, `originals/xx/…` and others: laid out as in the data folder

A former version kept one backup in the target itself: `manifest.json` there, and the files beside
it. It counts as the oldest generation, under the name `.`. Other programs may write to a target. So
names from it are validated before use, and no link is followed.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

import msgspec

from image_poster.adapters.files.filesystem import ConfinedFolder
from image_poster.adapters.files.schema import POST_FOLDERS, post_of
from image_poster.adapters.oidc import REVOCATIONS
from image_poster.domain.ids import is_id
from image_poster.editions import OperationFailedError
from image_poster.editions.local import data_folder
from image_poster.editions.local.data_folder import DATABASE, MANIFEST
from image_poster.editions.local.snapshot import SIDE_FILES, CopiedFile, ReportProgress

FORMAT, FORMER_FORMAT = 2, 1
FORMER = "."  # the name of a former version's backup: the target itself
TARGET_MARK, LOCK = "backup.json", "backup.lock"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z")
_KEY = re.compile(r"[a-z][a-z0-9_-]*\.key")
_FORMER_DATABASE = re.compile(r"image_poster-\d+\.db")
_SET_ASIDE = "Move that generation elsewhere, or restore another one with --generation."
_IGNORED = {
    *data_folder.OF_FILE_SYSTEM,
    LOCK,
    f"{TARGET_MARK}.new",
}  # in a folder that counts as empty
_MAX_NUMBER = 1_000_000_000


class ManifestHead(msgspec.Struct, frozen=True):
    """The beginning of a manifest. `number` orders generations, whatever the clock did."""

    format: int
    source: str = ""
    number: Annotated[int, msgspec.Meta(ge=0, le=_MAX_NUMBER)] = 0


class Manifest(ManifestHead, frozen=True, kw_only=True):
    """The content of a generation. `database` is the file that becomes `image_poster.db`."""

    database: CopiedFile
    files: list[CopiedFile]


class TargetMark(msgspec.Struct, frozen=True):
    """The mark of a target: the id of its source, the folder that a running backup writes, and the
    generations that are being removed."""

    format: int
    source: str
    unfinished: str = ""
    expired: tuple[str, ...] = ()


class Generation(NamedTuple):
    """One complete generation: the name of its folder, its source's id, and its number."""

    name: str
    source: str
    number: int


@dataclass(frozen=True)
class BackupOptions:
    """The number of generations to keep, and the refusals that the operator overrides."""

    keep: int = 7
    allow_other_files: bool = False
    allow_other_source: bool = False
    allow_loss: bool = False


class BackupTarget:
    """The generations in a folder, or in one that will hold them."""

    def __init__(self, folder: ConfinedFolder, report: ReportProgress) -> None:
        self.path = folder.path
        self.folder = folder
        self._report = report

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other backups to this target. Raises `OperationFailedError`."""
        with self.folder.open_lock(LOCK) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise OperationFailedError(f"another backup to {self.path} is running.") from exc
            yield

    def mark(self) -> TargetMark | None:
        """The mark; of a former version's backup the one that it would have. Raises
        `OperationFailedError` for a damaged mark."""
        path = self.path / TARGET_MARK
        try:
            mark = msgspec.json.decode(self.folder.read(TARGET_MARK), type=TargetMark)
        except FileNotFoundError:
            former = self._generation(FORMER)
            is_former = former is not None and former.number == 0
            return TargetMark(FORMAT, former.source) if former and is_former else None
        except (OSError, ValueError, RecursionError) as exc:
            raise OperationFailedError(f"the mark {path} cannot be read: {exc}.") from exc
        if mark.format > FORMAT:
            raise OperationFailedError(
                f"{self.path} was written by a later version of this program. Upgrade this program."
            )
        names = {mark.unfinished, *mark.expired} - {"", FORMER}
        if not is_id(mark.source) or not all(map(_NAME.fullmatch, names)):
            raise OperationFailedError(
                f"the mark {path} is damaged. Nothing was changed. Name another target; `restore` "
                "still reads the generations here."
            )
        return mark

    def check(self, source_id: str, options: BackupOptions) -> TargetMark:
        """The mark, or a new one. Raises `OperationFailedError` for a target that holds other
        files, or another source's backups."""
        mark = self.mark()
        if mark is None:
            if not (set(self.folder.names()) <= _IGNORED or options.allow_other_files):
                raise OperationFailedError(
                    f"{self.path} is not empty, and no backup of this service. Nothing was "
                    "changed. Name a folder of its own, or pass --allow-other-files to back up "
                    "beside its files."
                )
            return TargetMark(FORMAT, source_id)
        if mark.source != source_id and not options.allow_other_source:
            raise OperationFailedError(
                f"{self.path} holds backups of another data folder (id {mark.source}); this one "
                f"has the id {source_id}. Nothing was changed. Is this the right folder, and is "
                "its disk mounted? Name another target. Or run the command once with "
                "--allow-other-source: it adds a backup of this folder, and deletes none."
            )
        return msgspec.structs.replace(mark, source=source_id)

    def write_mark(self, mark: TargetMark) -> None:
        self.folder.replace(TARGET_MARK, msgspec.json.encode(mark))

    def list_generations(self) -> list[Generation]:
        """All complete generations, oldest first; one whose manifest is damaged is reported."""
        expired: tuple[str, ...] = ()
        with suppress(OperationFailedError):  # `restore` works without the mark
            mark = self.mark()
            expired = mark.expired if mark else ()
        names = {FORMER, *filter(_NAME.fullmatch, self.folder.names())} - set(expired)
        generations = (self._generation(name) for name in names)
        return sorted(filter(None, generations), key=lambda generation: generation.number)

    def read_manifest(self, name: str) -> Manifest:
        """The whole manifest of a generation, each name in it validated. Raises
        `OperationFailedError`."""
        event = f"the manifest {self.path / name / MANIFEST} is damaged"
        try:
            with self.folder.subfolder(name) as folder:
                manifest = msgspec.json.decode(folder.read(MANIFEST), type=Manifest)
        except (OSError, ValueError, RecursionError) as exc:
            raise OperationFailedError(f"{event}: {exc}. {_SET_ASIDE}") from exc
        names = [file.path for file in manifest.files]
        strange = [path for path in names if not is_layout_name(path)]
        if not _is_database_name(manifest):
            strange.append(manifest.database.path)
        if strange:
            raise OperationFailedError(
                f"{event}, or somebody changed it: it names {strange[0]!r}, which is no file of a "
                f"data folder. {_SET_ASIDE}"
            )
        if len(set(names)) != len(names):
            raise OperationFailedError(f"{event}: it names a file twice. {_SET_ASIDE}")
        return manifest

    def next_number(self, generations: list[Generation]) -> int:
        """The number of a generation after these, oldest first. Raises `OperationFailedError`."""
        newest = generations[-1] if generations else Generation("", "", 0)
        if newest.number == _MAX_NUMBER:
            raise OperationFailedError(
                f"somebody changed the manifest {self.path / newest.name / MANIFEST}: no later "
                f"number is left. {_SET_ASIDE}"
            )
        return newest.number + 1

    def next_name(self) -> str:
        """The name of a new generation, after the time now; a later one if it is not free."""
        moment = datetime.now(UTC)
        while (name := _name_of(moment)) in self.folder.names():
            moment += timedelta(milliseconds=1)
        return name

    def remove_generation(self, name: str) -> None:
        """Delete the files that the generation's manifest names, and the folders that this
        empties. Raises `OSError` and `OperationFailedError`."""
        try:
            folder = self.folder.subfolder(name)
        except OSError:
            return  # an earlier run removed it
        with folder:
            if MANIFEST in folder.names():
                manifest = self.read_manifest(name)
                paths = [file.path for file in manifest.files]
                remove_files(folder, [*paths, manifest.database.path])
                folder.remove(MANIFEST)  # last: the next run needs it after a crash
        self._remove_folder(name)

    def remove_unfinished(self, name: str) -> None:
        """Delete the files of a broken-off generation: those with names of the layout. Raises
        `OSError`."""
        try:
            folder = self.folder.subfolder(name)
        except OSError:
            return  # the run broke off before it created the folder
        with folder:
            if MANIFEST in folder.names():
                return  # it is complete: only the mark was not written
            databases = {DATABASE, *(f"{DATABASE}{suffix}" for suffix in SIDE_FILES)}
            own_names = databases | {f"{MANIFEST}.new"}
            names = [name for name in folder.names() if name in own_names]
            remove_files(folder, [*names, *layout_paths(folder)])
        self._remove_folder(name)

    def _generation(self, name: str) -> Generation | None:
        try:
            with self.folder.subfolder(name) as folder:
                head = msgspec.json.decode(folder.read(MANIFEST), type=ManifestHead)
                if name == FORMER and head.format == FORMER_FORMAT:
                    return Generation(name, _former_source(folder), 0)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as exc:
            fault = f"cannot be read: {exc}"
        else:
            if head.format == FORMAT and is_id(head.source):
                return Generation(name, head.source, head.number)
            fault = "has an unknown format, or names no source"
        self._report(f"the manifest {self.path / name / MANIFEST} {fault}")
        return None

    def _remove_folder(self, name: str) -> None:
        if name != FORMER:
            self.folder.remove_empty_folder(name)


def is_generation_name(name: str) -> bool:
    """True if a folder of this name can be a generation."""
    return _NAME.fullmatch(name) is not None


def is_layout_name(path: str) -> bool:
    """True if a backup may hold a file of this path."""
    special = path in {REVOCATIONS, data_folder.MARK} or _KEY.fullmatch(path) is not None
    return special or post_of(path) is not None


def layout_paths(folder: ConfinedFolder) -> Iterator[str]:
    """The paths of all files in a folder that a backup may hold, the keys first. An upload may
    become an original at any time, so the folders come in that order."""
    yield from filter(is_layout_name, folder.names())
    for parent in POST_FOLDERS:
        for shard in folder.names(parent):
            paths = (f"{parent}/{shard}/{name}" for name in folder.names(f"{parent}/{shard}"))
            yield from filter(post_of, paths)


def database_entry(generation: ConfinedFolder) -> CopiedFile:
    """The manifest's entry of the database in a generation's folder."""
    with generation.open(DATABASE) as file:
        digest, state = hashlib.file_digest(file, "sha256"), os.fstat(file.fileno())
    return CopiedFile(DATABASE, state.st_size, max(0, state.st_mtime_ns), digest.hexdigest())


def remove_files(folder: ConfinedFolder, paths: Iterable[str]) -> None:
    """Delete files by their names, and then empty folders. Raises `OSError`."""
    for path in paths:
        folder.remove(path)
    for parent in POST_FOLDERS:
        for shard in folder.names(parent):
            folder.remove_empty_folder(f"{parent}/{shard}")
        folder.remove_empty_folder(parent)


def _former_source(folder: ConfinedFolder) -> str:
    try:
        return data_folder.derive_id(folder.read(data_folder.CURSOR_KEY))
    except FileNotFoundError:
        return ""


def _is_database_name(manifest: Manifest) -> bool:
    path = manifest.database.path
    if manifest.format == FORMER_FORMAT:
        return _FORMER_DATABASE.fullmatch(path) is not None
    return path == DATABASE


def _name_of(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H-%M-%S}.{moment.microsecond // 1000:03}Z"
