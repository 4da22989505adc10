"""A copy of the database at one moment, with the writes that are still in its write-ahead log.

SQLite opens a database in WAL mode only where it can create the file `-shm`, or where a server
keeps it. On a read-only disk the database and its log are therefore copied, and the copy is opened
(https://www.sqlite.org/wal.html#read_only_databases).
"""

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from image_poster.editions import OperationFailedError

SIDE_FILES = ("-journal", "-wal", "-shm")  # what SQLite may have beside a database
_CANNOT_OPEN = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}


def copy_database(source: Path, target: Path) -> None:
    """Copy the database `source` to `target`, a file that is not there yet, beside a running server
    or without one. Raises `OSError`, `sqlite3.Error` and `OperationFailedError`."""
    try:
        with closing(open_existing(source)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF not in _CANNOT_OPEN or not source.is_file():
            raise
        _copy_files(source, target)


def open_existing(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Connect to an existing database. `immutable` promises that nobody writes to it, and creates
    no file beside it."""
    options = "mode=ro&immutable=1" if immutable else "mode=rw"
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{options}", uri=True)


def _copy_files(source: Path, target: Path) -> None:
    with _without_server(source.parent):
        shutil.copyfile(source, target)
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{source}-wal", f"{target}-wal")
    with closing(sqlite3.connect(target)) as copy:
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()


@contextmanager
def _without_server(data_dir: Path) -> Iterator[None]:
    """Hold the server's lock while the files are copied. Raises `OperationFailedError`."""
    try:
        lock = (data_dir / "server.lock").open("rb")
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
