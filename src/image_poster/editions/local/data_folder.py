"""The data folder: its permissions, the server's lock, its database, and the keys that sign cursors
and tokens."""

import fcntl
import grp
import os
import secrets
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import structlog

from image_poster.adapters.files.durable import move_durably, share
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.files.uploads import trust_uploads
from image_poster.adapters.sqlite.database import LogUnsupportedError, connect, translated
from image_poster.adapters.sqlite.schema import VERSION, SchemaTooNewError, migrate, version_of
from image_poster.domain.errors import StorageFullError
from image_poster.editions import StartError

_log = structlog.get_logger()

_KEY_BYTES = 32
_PRIVATE, _PASSABLE = 0o700, 0o710
_OTHERS = 0o077
_MOUNT_PRIVATELY = (
    "A disk without permissions (exFAT, SMB) must be mounted for the service's user alone: "
    "uid=USER,umask=077."
)


def database_path(data_dir: Path) -> Path:
    """The path of the database."""
    return data_dir / "image_poster.db"


def image_memory_path(data_dir: Path) -> Path:
    """The path of the lock file, always empty, by which workers share the memory for image work."""
    return data_dir / "image-memory.lock"


def prepare(data_dir: Path) -> None:
    """Create the folder if it does not exist. Files that this process creates from here on are
    private to its user. Raises `StartError`."""
    os.umask(_OTHERS)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc
    require_writable(data_dir)
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise StartError(f"data_dir {data_dir} cannot be written to.")


def is_read_only(data_dir: Path) -> bool:
    """True if the folder is on a read-only disk."""
    return bool(os.statvfs(data_dir).f_flag & os.ST_RDONLY)


def require_writable(data_dir: Path) -> None:
    """Raises `StartError` for a read-only disk."""
    if is_read_only(data_dir):
        raise StartError(
            f"data_dir {data_dir} is on a read-only disk. `backup`, `export`, `doctor`, `failed` "
            "work there. For this command, make it writable."
        )


def group_id(name: str) -> int | None:
    """The number of the group that may read renditions; None for none. Raises `StartError`."""
    if not name:
        return None
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError as exc:
        raise StartError(f"renditions_group: there is no group {name} here.") from exc


def limit_readers(data_dir: Path, group: int | None) -> None:
    """Make the folder private to its user, except for `group`, which can read renditions. Raises
    `StartError`."""
    before = data_dir.stat().st_mode
    try:
        layout = Layout(data_dir)
        if group is None:
            layout.hide_renditions()
            if before & _OTHERS:
                data_dir.chmod(_PRIVATE)
        else:
            layout.share_renditions(group)
            share(data_dir, group, _PASSABLE)
    except OSError as exc:
        raise StartError(
            f"{exc.filename} cannot be made private ({exc.strerror}): it must belong to the user "
            "who serves, and renditions_group must be one of that user's groups. "
            f"{_MOUNT_PRIVATELY}"
        ) from exc
    after = data_dir.stat().st_mode
    if after & _OTHERS & ~(0 if group is None else _PASSABLE):
        raise StartError(f"data_dir {data_dir} stays open to others. {_MOUNT_PRIVATELY}")
    if after != before:
        _log.info(
            "the permissions of the data folder were changed: it is private to the service",
            folder=str(data_dir),
            before=f"{stat.S_IMODE(before):04o}",
            after=f"{stat.S_IMODE(after):04o}",
        )


@contextmanager
def exclusively(data_dir: Path) -> Iterator[None]:
    """Hold the server's lock: no other server uses the folder. The kernel releases the lock when
    the process ends, in any way. Raises `StartError`."""
    with _lock_file(data_dir) as lock:
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


def _lock_file(data_dir: Path) -> IO[str]:
    """Open the file of the server's lock. Raises `StartError`."""
    path = data_dir / "server.lock"
    try:
        return path.open("a+")
    except OSError as exc:
        raise StartError(f"the lock {path} cannot be used: {exc.strerror}.") from exc


def require_right_database(data_dir: Path) -> None:
    """Refuse a new or empty database beside images: the right one was lost, or this is another
    folder's. Raises `StartError` before anything is changed."""
    path = database_path(data_dir)
    if _knows_posts(path):
        return
    # Without any row a crash may have left an original, but never a rendition.
    kept = ("renditions",) if _has_tables(path) else ("originals", "renditions")
    if any(next((data_dir / name).glob("*/*"), None) for name in kept):
        raise StartError(
            f"the database {path} is new or empty, but there are images beside it, which it does "
            "not know. Put the right database back (docs/operations.md); or move originals/ and "
            "renditions/ out of the folder to begin anew."
        )


def bring_up_to_date(data_dir: Path) -> None:
    """Migrate a database of an earlier version; the caller holds the server's lock. Copies the
    database before, and deletes the copies of former migrations afterwards. Raises `StartError`."""
    path = database_path(data_dir)
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as connection:
            found = version_of(connection)
            if found in (0, VERSION):
                return
            kept = data_dir / f"image_poster.v{found}.db"
            _copy(connection, kept)
        with closing(connect(path)) as connection:
            migrate(connection)
    except SchemaTooNewError as exc:
        raise StartError(f"the database {path} cannot be used: {exc}.") from exc
    except sqlite3.DatabaseError as exc:
        raise _not_migrated(path, exc) from exc
    for former in set(data_dir.glob("image_poster.v*.db")) - {kept}:
        former.unlink()
    trust_uploads(Layout(data_dir))
    _log.info("the database was brought up to date", copy_of_before=str(kept))


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the database as it is at this moment, completely or not at all
    (https://www.sqlite.org/lang_vacuum.html)."""
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        connection.execute("VACUUM INTO ?", (str(fresh),))
        move_durably(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)


def _not_migrated(path: Path, error: sqlite3.DatabaseError) -> StartError:
    if isinstance(translated(error), StorageFullError):
        return StartError(
            f"the database {path} is of an earlier version, and there is no room for the copy of "
            "it that is made before it is changed: free some room on the disk."
        )
    return damaged(path, error)


def damaged(path: Path, error: Exception) -> StartError:
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


def _has_tables(path: Path) -> bool:
    return bool(_first(path, "SELECT 1 FROM sqlite_master WHERE name = 'posts'"))


def _knows_posts(path: Path) -> bool:
    return _has_tables(path) and bool(
        _first(path, "SELECT id FROM posts UNION ALL SELECT id FROM tombstones LIMIT 1")
    )


def _first(path: Path, sql: str) -> object | None:
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(sql).fetchone()  # type: ignore[no-any-return]
    except sqlite3.DatabaseError as exc:
        raise damaged(path, exc) from exc


def signing_key(data_dir: Path) -> bytes:
    """The secret that signs cursors, created once and readable by its owner only. Raises
    `StartError` if it is damaged."""
    path = data_dir / "cursor.key"
    try:
        key = _made_once(path, lambda: secrets.token_bytes(_KEY_BYTES))
    except OSError as exc:
        raise StartError(f"the key {path} cannot be used: {exc.strerror}.") from exc
    if len(key) != _KEY_BYTES:
        raise StartError(
            f"the key {path} is damaged: it has {len(key)} bytes instead of {_KEY_BYTES}. Restore "
            "it from a backup, or delete it: then all cursors and upload addresses end."
        )
    return key


def token_key_path(data_dir: Path) -> Path:
    """The path of the key that signs the service's own tokens."""
    return data_dir / "token.key"


def token_key(data_dir: Path, make: Callable[[], bytes]) -> bytes:
    """The key of the service's own tokens, as PEM, created once and readable by its owner only.
    Raises `StartError`."""
    path = token_key_path(data_dir)
    try:
        return _made_once(path, make)
    except OSError as exc:
        raise StartError(f"the key {path} cannot be used: {exc.strerror}.") from exc


def replace_token_key(data_dir: Path, make: Callable[[], bytes]) -> None:
    """Replace the key of the service's own tokens: all earlier tokens become invalid. Raises
    `StartError`."""
    path = token_key_path(data_dir)
    try:
        replace_private(path, make())
    except OSError as exc:
        raise StartError(f"the key {path} cannot be replaced: {exc.strerror}.") from exc


def _made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the content of a file, which one process of several creates if there is none. The
    processes use a lock, not a hard link: exFAT and some network file systems have no hard
    links."""
    if not path.exists():
        with (path.parent / "keys.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                replace_private(path, make())
    return path.read_bytes()


def replace_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, durably, replacing any existing one."""
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        move_durably(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
