"""The data folder: its mark, the lock of its server, and its database.

The mark `folder.json` tells a folder of this service from a folder that an operator named by
mistake. It holds the folder's id. A backup names its source by this id, so two services never share
a backup's target by mistake.

A folder of a former version has no mark. It is recognized by its database beside its key, or by
having no entries but the service's. Its id is derived from its cursor key. So its former backups
have the same id, and so has a read-only folder.
"""

import fcntl
import hashlib
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec
import structlog
from ulid import ULID

from image_poster.adapters.files.filesystem import ConfinedFolder
from image_poster.adapters.files.schema import POST_FOLDERS
from image_poster.adapters.sqlite.database import LogUnsupportedError, connect
from image_poster.adapters.sqlite.schema import migrate
from image_poster.domain.ids import is_id, new_id
from image_poster.editions import OperationFailedError, StartError
from image_poster.editions.local.ownership import act_as_owner, make_private, prepare_folder

_log = structlog.get_logger()

DATABASE, MARK = "image_poster.db", "folder.json"
CURSOR_KEY, SERVER_LOCK = "cursor.key", "server.lock"
MANIFEST = "manifest.json"  # of a backup, which otherwise looks like a data folder
OF_FILE_SYSTEM = {"lost+found"}  # mkfs creates it
# The entries after a first start that broke off.
_FIRST_FILES = {SERVER_LOCK, f"{MARK}.new"}
OWN_NAME = re.compile(
    r"image_poster(\.v\d+)?\.db(-wal|-shm|-journal|\.new)?|[a-z]+\.(key(\.new)?|\d+)|server\.lock"
    r"|image-memory\.lock|keys\.lock|spool|quarantine|uploads|originals|renditions|withheld"
    r"|metrics"
)
_FORMAT = 1
_REPAIR = "Restore it from a backup, or delete it: the next start creates a new id."
_ID_BYTES = 16


class FolderMark(msgspec.Struct, frozen=True):
    """The content of the mark: the version of its format, and the folder's id (a ULID)."""

    format: int
    id: str


def database_path(data_dir: Path) -> Path:
    """The path of the database."""
    return data_dir / DATABASE


def image_memory_path(data_dir: Path) -> Path:
    """The path of the lock file, always empty, by which workers share the memory for image work."""
    return data_dir / "image-memory.lock"


def enter_own_folder(data_dir: Path) -> None:
    """Act as the owner of the data folder, or create a new one. Raises `StartError`, with nothing
    changed, for a folder that is not empty and not the service's own."""
    act_as_owner(data_dir)
    if data_dir.is_dir() and _names(data_dir) and not is_own_folder(data_dir):
        raise StartError(
            f"data_dir {data_dir} is not empty, and it is no data folder of this service. Pass an "
            f"empty folder, or a new one such as {data_dir / 'image-poster'}. If it is a data "
            "folder without its database, first put that back. If it is a backup, use "
            "`image-poster restore`. Nothing was changed."
        )
    prepare_folder(data_dir)


def enter_with_database(data_dir: Path) -> None:
    """Act as the owner of a data folder that has a database, and create private files only. Raises
    `StartError`, with nothing changed, for any other folder."""
    act_as_owner(data_dir)
    path = database_path(data_dir)
    try:
        has_database = path.is_file() and path.stat().st_size > 0
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc
    if not has_database:
        raise StartError(
            f"there is no database in {data_dir}: pass --data-dir, or run `serve` first."
        )
    if not is_own_folder(data_dir):
        raise StartError(
            f"data_dir {data_dir} is not a data folder of this service, although it has a file "
            f"{DATABASE}: pass another --data-dir. Nothing was changed."
        )
    os.umask(0o077)


def is_own_folder(data_dir: Path) -> bool:
    """True if the service created the folder. Raises `StartError` for a damaged mark."""
    names = _names(data_dir)
    if MANIFEST in names:
        return False
    is_former = _is_former(names - {MARK})
    try:
        return read_mark(data_dir) is not None or is_former
    except StartError:
        if is_former:
            raise
        return False  # another program's file of that name


def _is_former(names: set[str]) -> bool:
    """True if the entries are those of a former version's folder, or of a start that broke off."""
    if {DATABASE, CURSOR_KEY} <= names:
        return True
    if names <= _FIRST_FILES:
        return bool(names)
    return bool({DATABASE, CURSOR_KEY} & names) and all(map(OWN_NAME.fullmatch, names))


def _names(data_dir: Path) -> set[str]:
    """The entries that are not of the file system. Raises `StartError`."""
    try:
        return set(os.listdir(data_dir)) - OF_FILE_SYSTEM  # noqa: PTH208 - names only
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc


def read_mark(data_dir: Path) -> FolderMark | None:
    """Return the folder's mark, or None if it has none. Raises `StartError` for a damaged mark."""
    path = data_dir / MARK
    try:
        mark = msgspec.json.decode(path.read_bytes(), type=FolderMark)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as exc:
        raise StartError(f"the mark {path} cannot be read: {exc}. {_REPAIR}") from exc
    if mark.format != _FORMAT or not is_id(mark.id):
        raise StartError(f"the mark {path} is damaged. {_REPAIR}")
    return mark


def write_mark(data_dir: Path, folder_id: str | None = None) -> str:
    """Create the mark durably, with this id, and return the id. Without one, a mark that another
    process created in the meantime stays; else the id is derived from the cursor key, or new.
    Raises `OSError`."""
    with _locked(data_dir):
        if folder_id is None and (mark := read_mark(data_dir)):
            return mark.id
        folder_id = folder_id or _derived_id(data_dir)
        with ConfinedFolder(data_dir) as folder:
            folder.replace(MARK, msgspec.json.encode(FolderMark(_FORMAT, folder_id)))
        return folder_id


def mark_folder(data_dir: Path) -> None:
    """Create the mark of a folder that has none, under the server's lock. Raises `StartError`."""
    if read_mark(data_dir) is not None:
        return
    is_former = database_path(data_dir).exists()
    try:
        folder_id = write_mark(data_dir)
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be written to: {exc.strerror}.") from exc
    if is_former:
        _log.info("the data folder of an earlier version got an id", id=folder_id)


def identify_folder(data_dir: Path) -> str:
    """The folder's id, after creating its mark where the folder can be written to. A folder that
    may be another program's gets none. Raises `StartError` for a damaged mark."""
    if mark := read_mark(data_dir):
        return mark.id
    with suppress(OSError):
        if is_own_folder(data_dir):
            return write_mark(data_dir)
    return _derived_id(data_dir)


def derive_id(cursor_key: bytes) -> str:
    """The id of a folder of a former version, by its cursor key."""
    digest = hashlib.sha256(b"id of a data folder\0" + cursor_key).digest()
    return str(ULID.from_bytes(digest[:_ID_BYTES]))


def _derived_id(data_dir: Path) -> str:
    try:
        return derive_id((data_dir / CURSOR_KEY).read_bytes())
    except OSError:
        return new_id()


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Exclude other processes that create the mark, by a lock on the folder itself."""
    descriptor = os.open(data_dir, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network disk may lock no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def lock_for_server(data_dir: Path) -> Iterator[None]:
    """Hold the server's lock: no other server uses the folder. The kernel releases the lock when
    the process ends, in any way. Raises `StartError`."""
    path = data_dir / SERVER_LOCK
    try:
        lock = path.open("a+")
    except OSError as exc:
        raise StartError(f"the lock {path} cannot be used: {exc.strerror}.") from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise StartError(
                f"data_dir {data_dir} is in use by another server (process {owner})."
            ) from exc
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def lock_against_servers(data_dir: Path) -> Iterator[None]:
    """Keep servers from starting, without writing anything. Raises `OperationFailedError` while a
    server runs, and `OSError` for a lock that cannot be read."""
    try:
        lock = (data_dir / SERVER_LOCK).open("rb")
    except FileNotFoundError:
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise OperationFailedError(
                f"the database in {data_dir} cannot be opened while its server runs. Run this "
                "command as the user of the server, or stop the server first."
            ) from exc
        yield


def create_database(data_dir: Path, report: Callable[[str], None]) -> None:
    """Create the folder and its database as the first start does, if there is none. Raises
    `StartError`."""
    path = database_path(data_dir)
    if path.exists() and path.stat().st_size:
        return
    enter_own_folder(data_dir)
    make_private(data_dir, report)
    with lock_for_server(data_dir):
        mark_folder(data_dir)
        require_right_database(data_dir)
        try:
            with closing(connect(path)) as connection:
                migrate(connection)
        except sqlite3.DatabaseError as exc:
            raise database_error(path, exc) from exc


def require_right_database(data_dir: Path) -> None:
    """Refuse a new or empty database beside images: the right one was lost, or this is another
    folder's. Raises `StartError` before anything is changed."""
    path = database_path(data_dir)
    has_tables = bool(_first_row(path, "SELECT 1 FROM sqlite_master WHERE name = 'posts'"))
    if has_tables and _first_row(path, "SELECT id FROM posts UNION ALL SELECT id FROM tombstones"):
        return
    # Without any row a crash may have left an original, but never a rendition.
    folders = ("renditions", "withheld") if has_tables else POST_FOLDERS[1:]
    if any(next((data_dir / name).glob("*/*"), None) for name in folders):
        raise StartError(
            f"the database {path} is new or empty, but the folder has images. Put the right "
            "database back (docs/operations.md). To start with an empty service, move originals/, "
            "renditions/ and withheld/ out of the folder."
        )


def _first_row(path: Path, sql: str) -> object | None:
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(f"{sql} LIMIT 1").fetchone()  # type: ignore[no-any-return]
    except sqlite3.DatabaseError as exc:
        raise database_error(path, exc) from exc


def database_error(path: Path, error: Exception) -> StartError:
    """The error for a database that SQLite cannot read."""
    if isinstance(error, LogUnsupportedError):
        return StartError(
            f"the database {path} cannot be used: its file system lacks shared memory, which the "
            f"write-ahead log of SQLite needs ({error}). Put the data folder on a local disk."
        )
    return StartError(
        f"the database {path} cannot be used: {error}. Nothing was changed; restore it from a "
        "backup (docs/operations.md)."
    )
