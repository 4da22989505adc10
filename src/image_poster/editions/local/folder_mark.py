"""The mark of a data folder: the file `folder.json`, by which the service recognizes its own
folder.

The mark holds the folder's id. A backup names its source by this id, so two services never share a
backup's target by mistake.

The id of a folder of a former version is derived from its cursor key. So its former backups have
the same id, and so has a read-only folder.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from ulid import ULID

from image_poster.adapters.files.confined import ConfinedFolder
from image_poster.domain.ids import is_id, new_id
from image_poster.editions import StartError

MARK_NAME = "folder.json"
_FORMAT = 1
_REPAIR = "Restore it from a backup, or delete it: the next start creates a new id."
_ID_BYTES = 16


class FolderMark(msgspec.Struct, frozen=True):
    """The content of the mark: the version of its format, and the folder's id (a ULID)."""

    format: int
    id: str


def read_mark(data_dir: Path) -> FolderMark | None:
    """Return the folder's mark, or None if it has none. Raises `StartError` for a damaged mark."""
    path = data_dir / MARK_NAME
    try:
        mark = msgspec.json.decode(path.read_bytes(), type=FolderMark)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as exc:
        raise StartError(f"the mark {path} cannot be read: {exc}. {_REPAIR}") from exc
    if mark.format != _FORMAT or not is_id(mark.id):
        raise StartError(f"the mark {path} is damaged. {_REPAIR}")
    return mark


def write_mark(data_dir: Path, folder_id: str | None = None) -> FolderMark:
    """Create the mark durably, with this id. Without one, a mark that another process created in
    the meantime stays; else the id is derived from the cursor key, or new. Raises `OSError`."""
    with _locked(data_dir):
        if folder_id is None and (mark := read_mark(data_dir)):
            return mark
        mark = FolderMark(_FORMAT, folder_id or _derived_id(data_dir) or new_id())
        with ConfinedFolder(data_dir) as folder:
            folder.replace(MARK_NAME, msgspec.json.encode(mark))
        return mark


def identify_folder(data_dir: Path) -> str:
    """The folder's id, after creating its mark where the folder can be written to. Raises
    `StartError` for a damaged mark."""
    mark = read_mark(data_dir)
    if mark is None:
        try:
            mark = write_mark(data_dir)
        except OSError:
            return _derived_id(data_dir) or new_id()
    return mark.id


def derive_id(cursor_key: bytes) -> str:
    """The id of a folder of a former version, by its cursor key."""
    digest = hashlib.sha256(b"id of a data folder\0" + cursor_key).digest()
    return str(ULID.from_bytes(digest[:_ID_BYTES]))


def _derived_id(data_dir: Path) -> str | None:
    try:
        return derive_id((data_dir / "cursor.key").read_bytes())
    except OSError:
        return None


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
