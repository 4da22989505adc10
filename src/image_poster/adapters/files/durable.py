"""Files that survive a power cut: sync the file, rename it, sync the folder.

Source of the order: rename(2) and fsync(2). "Calling fsync() does not necessarily ensure that the
entry in the directory containing the file has also reached disk".
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image_poster.domain.errors import StorageFullError

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn "no space left" into `StorageFullError`."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise StorageFullError from exc
        raise


def check_free_space(folder: Path, size: int, *, reserve: int) -> None:
    """Raise `StorageFullError` if `size` more bytes would leave less than `reserve` bytes free on
    the folder's disk."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < size + reserve:
        raise StorageFullError


def write_all(descriptor: int, data: bytes | bytearray, at: int) -> None:
    """Write all of `data` at offset `at`, in several calls if necessary: pwrite(2) may write less
    than it gets. Raises `StorageFullError`."""
    with disk_errors(), memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], at + done)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, durable. Some file systems cannot sync a folder
    (EINVAL, fsync(2)); there, syncing a file also syncs its entry."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def move_durably(source: Path, target: Path) -> None:
    """Replace `target` by the file `source`, atomically and durably."""
    with disk_errors():
        sync(source)
        ensure_folder(target.parent)
        source.replace(target)
        sync(target.parent)


def remove_durably(path: Path) -> bool:
    """Delete a file durably. Return True if it existed."""
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    sync(path.parent)
    return True


def share(path: Path, group: int, mode: int) -> None:
    """Give a file or folder to a group, and set its permission bits to `mode`."""
    now = path.stat()
    if now.st_gid != group:
        os.chown(path, -1, group)
    if now.st_mode & 0o777 != mode:
        path.chmod(mode)


def ensure_folder(folder: Path) -> None:
    """Create a folder and its parents durably, if they do not exist."""
    if not folder.is_dir():
        ensure_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
