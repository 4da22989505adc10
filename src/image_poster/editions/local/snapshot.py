"""Copies of a data folder as it is at one moment: for backups, exports, migrations, and commands on
a read-only disk.

The database is copied first, with the writes that are still in its write-ahead log; then the files
of the posts in that copy. So no row of the copy lacks its files.

SQLite opens a database in WAL mode only where it can create the file `-shm`, or where a server
keeps it. On a read-only disk the database and its log are therefore copied, and the copy is opened
(https://www.sqlite.org/wal.html#read_only_databases).
"""

import hashlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, BinaryIO, TypeVar
from urllib.parse import quote

import msgspec
import structlog

from image_poster.adapters.files.filesystem import (
    ConfinedFolder,
    disk_errors,
    ensure_folder,
    move_durably,
)
from image_poster.adapters.files.schema import POST_FOLDERS, Layout
from image_poster.adapters.files.uploads import trust_uploads
from image_poster.adapters.sqlite.database import connect, translated
from image_poster.adapters.sqlite.schema import VERSION, SchemaTooNewError, migrate, version_of
from image_poster.domain.errors import StorageFullError
from image_poster.editions import OperationFailedError, StartError
from image_poster.editions.local.data_folder import (
    database_error,
    database_path,
    lock_against_servers,
)
from image_poster.editions.local.ownership import is_read_only, require_readable

_log = structlog.get_logger()

SIDE_FILES = ("-journal", "-wal", "-shm")  # SQLite's files beside a database
_CANNOT_OPEN = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_CHUNK_BYTES = 1 << 20
_REPORT_EVERY = 500

ReportProgress = Callable[[str], None]
Item = TypeVar("Item")
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class CopiedFile(msgspec.Struct, frozen=True):
    """A copied file: its path, its bytes, its time of change (ns since 1970), and the SHA-256 of
    its content, in hexadecimal."""

    path: str
    size: _Natural
    mtime_ns: _Natural
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class UnreadableError(OSError):
    """One file cannot be read; other files of its disk may be readable."""


def require_source(data_dir: Path, target: Path) -> None:
    """Check that the data folder can be copied to `target`. Files that this process creates from
    here on are private to its user. Raises `StartError`."""
    require_readable(data_dir)
    if not database_path(data_dir).exists():
        raise StartError(f"there is no database in {data_dir}: pass --data-dir, or mount its disk.")
    data, place = data_dir.resolve(), target.resolve()
    parts = [data, *((data_dir / name).resolve() for name in POST_FOLDERS)]
    if any(place.is_relative_to(part) for part in parts):
        raise StartError(f"{target} is in the data folder: name a folder on another disk.")
    if any(part.is_relative_to(place) for part in parts):
        raise StartError(f"the data folder {data_dir} is in {target}: name a folder of its own.")
    os.umask(0o077)


@contextmanager
def open_folders(data_dir: Path, target: Path) -> Iterator[tuple[ConfinedFolder, ConfinedFolder]]:
    """Open the data folder and the target of a copy, which is created if it does not exist."""
    ensure_folder(target)
    with (
        ConfinedFolder(data_dir, follow_folders=True) as source,
        ConfinedFolder(target) as place,
    ):
        yield source, place


@contextmanager
def failures_as_sentences(event: str, advice: str) -> Iterator[None]:
    """Raise `OperationFailedError` for an error of a disk or of SQLite: `event` and the cause, then
    the operator's next step."""
    try:
        with disk_errors():
            yield
    except (OSError, sqlite3.Error, StorageFullError) as exc:
        is_full = isinstance(translated(exc), StorageFullError)
        cause = "the disk is full" if is_full else str(exc)
        raise OperationFailedError(f"{event}: {cause}. {advice}") from exc


def report_progress(items: Iterable[Item], report: ReportProgress, unit: str) -> Iterator[Item]:
    """The same items; the number of those that are done is reported now and then."""
    for number, item in enumerate(items, 1):
        yield item
        if number % _REPORT_EVERY == 0:
            report(f"{number:,} {unit}")


@contextmanager
def open_database_copy(
    source: ConfinedFolder, target: ConfinedFolder, name: str
) -> Iterator[sqlite3.Connection]:
    """Copy the database of the data folder `source` to the file `name` in `target`, and open the
    copy. Raises as `copy_database`."""
    copy_database(database_path(source.path), target.path / name)
    target.give_to_owner(name)
    with closing(open_existing(target.path / name)) as connection:
        yield connection


def copy_database(source: Path, target: Path) -> None:
    """Copy the database `source` to `target`, a file that is not there yet, beside a running server
    or without one. Raises `OSError`, `sqlite3.Error` and `OperationFailedError`."""
    try:
        _vacuum_into(source, target)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF not in _CANNOT_OPEN or not source.is_file():
            raise
        _copy_database_files(source, target)


def open_existing(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Connect to an existing database. `immutable` promises that nobody writes to it, and creates
    no file beside it."""
    options = "mode=ro&immutable=1" if immutable else "mode=rw"
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{options}", uri=True)


def _vacuum_into(source: Path, target: Path) -> None:
    with closing(open_existing(source)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))


def _copy_database_files(source: Path, target: Path) -> None:
    with lock_against_servers(source.parent):
        shutil.copyfile(source, target)
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{source}-wal", f"{target}-wal")
    with closing(sqlite3.connect(target)) as copy:
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()


@contextmanager
def copy_if_read_only(data_dir: Path) -> Iterator[Path | None]:
    """The path of a copy of the database if the disk is read-only, deleted at exit; else None, for
    the database itself. Raises `StartError`."""
    path = database_path(data_dir)
    if not (path.is_file() and is_read_only(data_dir)):
        yield None
        return
    with TemporaryDirectory(prefix="image-poster-") as folder:
        copy = Path(folder) / path.name
        advice = "Set TMPDIR to a folder with enough space."
        with failures_as_sentences(f"the database {path} was not copied to {folder}", advice):
            copy_database(path, copy)
        yield copy


def bring_up_to_date(data_dir: Path) -> None:
    """Migrate a database of an earlier version; the caller holds the server's lock. Copies the
    database before, and deletes the copies of former migrations afterwards. Raises `StartError`."""
    path = database_path(data_dir)
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as connection:
            version = version_of(connection)
        if version in (0, VERSION):
            return
        copy = data_dir / f"image_poster.v{version}.db"
        _keep_copy(path, copy)
        with closing(connect(path)) as connection:
            migrate(connection)
    except SchemaTooNewError as exc:
        raise StartError(f"the database {path} cannot be used: {exc}.") from exc
    except (sqlite3.DatabaseError, StorageFullError) as exc:
        raise _not_migrated(path, exc) from exc
    for former in set(data_dir.glob("image_poster.v*.db")) - {copy}:
        former.unlink()
    trust_uploads(Layout(data_dir))
    _log.info("the database was migrated", copy_of_before=str(copy))


def _keep_copy(path: Path, copy: Path) -> None:
    """Copy the database as it is at this moment, completely or not at all
    (https://www.sqlite.org/lang_vacuum.html)."""
    fresh = copy.with_name(f"{copy.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        _vacuum_into(path, fresh)
        move_durably(fresh, copy)
    finally:
        fresh.unlink(missing_ok=True)


def _not_migrated(path: Path, error: Exception) -> StartError:
    if isinstance(translated(error), StorageFullError):
        return StartError(
            f"the database {path} has an earlier schema version, and the disk has too little free "
            "space for the copy that the migration needs. Delete other files on the disk."
        )
    return database_error(path, error)


def copy_file(
    file: BinaryIO,
    target: ConfinedFolder,
    name: str,
    *,
    size: int = sys.maxsize,
    mtime_ns: int | None = None,
) -> CopiedFile:
    """Create the file `name` in `target` with the next `size` bytes of an open file, or with all.
    `mtime_ns` becomes its time of change. Raises `OSError`, and `UnreadableError` for `file`."""
    digest, written = hashlib.sha256(), 0
    with target.create(name) as copy:
        for chunk in read_chunks(file, size):
            copy.write(chunk)
            digest.update(chunk)
            written += len(chunk)
        copy.flush()
        if mtime_ns is not None:
            os.utime(copy.fileno(), ns=(mtime_ns, mtime_ns))
    return CopiedFile(name, written, mtime_ns or 0, digest.hexdigest())


def read_chunks(file: BinaryIO, size: int = sys.maxsize) -> Iterator[bytes]:
    """The next `size` bytes of a file, or all, in chunks of at most a mebibyte. Raises
    `UnreadableError`."""
    while size:
        with read_errors():
            chunk = file.read(min(size, _CHUNK_BYTES))
        if not chunk:
            return
        size -= len(chunk)
        yield chunk


@contextmanager
def read_errors() -> Iterator[None]:
    """Raise `UnreadableError` for a file that is there and cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise UnreadableError(exc.errno, exc.strerror) from exc
