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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, BinaryIO, NamedTuple

import msgspec

from image_poster.adapters.files.confined import ConfinedFolder
from image_poster.adapters.files.schema import POST_FOLDERS, post_of
from image_poster.domain.ids import is_id
from image_poster.editions import OperationFailedError
from image_poster.editions.local.folder_mark import MARK_NAME, derive_id
from image_poster.editions.local.snapshot import SIDE_FILES

FORMAT, FORMER_FORMAT = 2, 1
FORMER = "."  # the name of a former version's backup: the target itself
TARGET_MARK, MANIFEST, LOCK, DATABASE = (
    *("backup.json", "manifest.json", "backup.lock", "image_poster.db"),
)
REVOCATIONS = "revocations.json"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z")
_KEY = re.compile(r"[a-z][a-z0-9_-]*\.key")
_FORMER_DATABASE = re.compile(r"image_poster-\d+\.db")
_SET_ASIDE = "Move that generation elsewhere, or restore another one with --generation."
_CHUNK_BYTES = 1 << 20
_IGNORED = {"lost+found", LOCK, f"{TARGET_MARK}.new"}  # in a folder that counts as empty

Report = Callable[[str], None]
_MAX_NUMBER = 1_000_000_000
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=_MAX_NUMBER)]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class CopiedFile(msgspec.Struct, frozen=True):
    """A file of the backup: its path in the data folder, its bytes, its time of change (ns since
    1970), and the SHA-256 of its content, in hexadecimal."""

    path: str
    size: _Natural
    mtime_ns: _Natural
    sha256: _Sha256


class ManifestHead(msgspec.Struct, frozen=True):
    """The beginning of a manifest. `number` orders generations, whatever the clock did."""

    format: int
    source: str = ""
    number: _Number = 0


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


class BackupTarget:
    """The generations in a folder, or in one that will hold them."""

    def __init__(self, folder: ConfinedFolder, report: Report) -> None:
        self.path = folder.path
        self.folder = folder
        self._report = report

    def is_empty(self) -> bool:
        return set(self.folder.names()) <= _IGNORED

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
            raise OperationFailedError(f"{self.path} was written by a later version: upgrade this.")
        names = {mark.unfinished, *mark.expired} - {"", FORMER}
        if not is_id(mark.source) or not all(map(_NAME.fullmatch, names)):
            raise OperationFailedError(
                f"the mark {path} is damaged. Nothing was changed. Name another target; `restore` "
                "still reads the generations here."
            )
        return mark

    def write_mark(self, mark: TargetMark) -> None:
        self.folder.replace(TARGET_MARK, msgspec.json.encode(mark))

    def generations(self) -> list[Generation]:
        """All complete generations, oldest first; one whose manifest is damaged is reported."""
        expired: tuple[str, ...] = ()
        with suppress(OperationFailedError):  # `restore` works without the mark
            mark = self.mark()
            expired = mark.expired if mark else ()
        names = {FORMER, *filter(_NAME.fullmatch, self.folder.names())} - set(expired)
        generations = (self._generation(name) for name in names)
        return sorted(filter(None, generations), key=lambda generation: generation.number)

    def manifest(self, name: str) -> Manifest:
        """The whole manifest of a generation, each name in it validated. Raises
        `OperationFailedError`."""
        where = self.path / name / MANIFEST
        try:
            with self.folder.subfolder(name) as folder:
                manifest = msgspec.json.decode(folder.read(MANIFEST), type=Manifest)
        except (OSError, ValueError, RecursionError) as exc:
            raise OperationFailedError(
                f"the manifest {where} is damaged: {exc}. {_SET_ASIDE}"
            ) from exc
        names = [file.path for file in manifest.files]
        strange = next((path for path in names if not is_layout_name(path)), None)
        if strange is None and not _is_database_name(manifest):
            strange = manifest.database.path
        if strange is not None:
            raise OperationFailedError(
                f"the manifest {where} is damaged, or somebody changed it: it names {strange!r}, "
                f"which is no file of a data folder. {_SET_ASIDE}"
            )
        if len(set(names)) != len(names):
            raise OperationFailedError(
                f"the manifest {where} is damaged: it names a file twice. {_SET_ASIDE}"
            )
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

    def free_name(self) -> str:
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
                manifest = self.manifest(name)
                paths = [file.path for file in manifest.files]
                remove_files(folder, [*paths, manifest.database.path])
                folder.remove(MANIFEST)  # last: a broken-off removal goes on by it
        self._remove_folder(name)

    def discard(self, name: str) -> None:
        """Delete the files of a broken-off generation: those with names of the layout. Raises
        `OSError`."""
        try:
            folder = self.folder.subfolder(name)
        except OSError:
            return  # the run broke off before it created the folder
        with folder:
            if MANIFEST in folder.names():
                return  # it is complete: only the mark was not written
            _discard_files(folder)
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
            self._report(f"the manifest {self.path / name / MANIFEST} cannot be read: {exc}")
            return None
        if head.format != FORMAT:
            self._report(f"{self.path / name / MANIFEST} is of an unknown format")
            return None
        if not is_id(head.source):
            self._report(f"the manifest {self.path / name / MANIFEST} names no source")
            return None
        return Generation(name, head.source, head.number)

    def _remove_folder(self, name: str) -> None:
        if name != FORMER:
            self.folder.remove_empty_folder(name)


def read_chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file; fewer if it has fewer."""
    while size and (chunk := file.read(min(size, _CHUNK_BYTES))):
        size -= len(chunk)
        yield chunk


def copy_file(
    chunks: Iterator[bytes], folder: ConfinedFolder, name: str, mtime_ns: int
) -> CopiedFile:
    """Create the file `name` of these bytes in a folder. Raises `OSError`."""
    digest, size = hashlib.sha256(), 0
    with folder.create(name) as copy:
        for chunk in chunks:
            copy.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        copy.flush()
        os.utime(copy.fileno(), ns=(mtime_ns, mtime_ns))
    return CopiedFile(name, size, mtime_ns, digest.hexdigest())


def is_generation_name(name: str) -> bool:
    """True if a folder of this name can be a generation."""
    return _NAME.fullmatch(name) is not None


def is_layout_name(path: str) -> bool:
    """True if a backup may hold a file of this path."""
    special = path in {REVOCATIONS, MARK_NAME} or _KEY.fullmatch(path) is not None
    return special or post_of(path) is not None


def remove_files(folder: ConfinedFolder, paths: list[str]) -> None:
    """Delete files by their names, and the folders that this empties. Raises `OSError`."""
    for path in paths:
        folder.remove(path)
    shards = {path.rpartition("/")[0] for path in paths if "/" in path}
    for shard in shards:
        folder.remove_empty_folder(shard)
    for parent in {shard.partition("/")[0] for shard in shards}:
        folder.remove_empty_folder(parent)


def _discard_files(folder: ConfinedFolder) -> None:
    databases = {DATABASE, *(f"{DATABASE}{suffix}" for suffix in SIDE_FILES), f"{MANIFEST}.new"}
    for name in folder.names():
        if name in databases or is_layout_name(name):
            folder.remove(name)
    for parent in POST_FOLDERS:
        for shard in folder.names(parent):
            place = f"{parent}/{shard}"
            for path in [f"{place}/{name}" for name in folder.names(place)]:
                if post_of(path):
                    folder.remove(path)
            folder.remove_empty_folder(place)
        folder.remove_empty_folder(parent)


def _former_source(folder: ConfinedFolder) -> str:
    try:
        return derive_id(folder.read("cursor.key"))
    except FileNotFoundError:
        return ""


def _is_database_name(manifest: Manifest) -> bool:
    path = manifest.database.path
    if manifest.format == FORMER_FORMAT:
        return _FORMER_DATABASE.fullmatch(path) is not None
    return path == DATABASE


def _name_of(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H-%M-%S}.{moment.microsecond // 1000:03}Z"
