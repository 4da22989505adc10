"""Safe use of the file system: files that survive a power cut, and folders that no symbolic link
leads out of.

- Durable files: sync the file, rename it, sync the folder. Source of the order: rename(2) and
  fsync(2). "Calling fsync() does not necessarily ensure that the entry in the directory containing
  the file has also reached disk".
- `ConfinedFolder`: other users may be able to write to the target of a backup, and root may run the
  command. So each part of a name is opened relative to its parent (openat(2), O_NOFOLLOW).
- `OpenFile`: a stored file that is read in ranges.
"""

import asyncio
import ctypes
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from image_poster.domain.errors import ImageNotFoundError, StorageFullError

# Errors of link(2) where a file system, or the kernel's protection, makes no hard link.
_NO_LINK = {
    *(errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK),
    errno.EINVAL,
}
# Nothing has the name, or a part of the name is a link, or a file in place of a folder.
_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class ConfinedFolder:
    """One folder, and the files and folders below it by relative names such as `originals/0A/…`.

    Files and folders that root creates belong to the owner of the folder. `follow_folders` allows
    links to folders: an operator may keep the originals of a data folder on another disk.
    """

    def __init__(self, path: Path, *, follow_folders: bool = False) -> None:
        self.path = path
        self._flags = os.O_RDONLY | os.O_DIRECTORY | (0 if follow_folders else os.O_NOFOLLOW)
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        owner = os.fstat(self._root)
        self._owner = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None
        self._open = {"": self._root}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def subfolder(self, name: str) -> "ConfinedFolder":
        """A folder directly below this one, itself no link. Raises `OSError`."""
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._root)
        folder = object.__new__(ConfinedFolder)
        folder.path, folder._root = self.path / name, descriptor
        folder._flags, folder._owner = self._flags, self._owner
        folder._open = {"": descriptor}
        return folder

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder; an empty list if there is no such folder."""
        try:
            return os.listdir(self._open_folder(folder))  # noqa: PTH208 - a descriptor
        except OSError as exc:
            if exc.errno in _NO_SUCH_FILE:
                return []
            raise

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a file; of the link itself if it is a link. Raises `OSError`."""
        folder, base = self._parent(name)
        return os.stat(base, dir_fd=folder, follow_symlinks=False)

    def open(self, name: str) -> BufferedReader:
        """Open a regular file for reading. Raises `OSError`, also for a device or a link."""
        folder, base = self._parent(name)
        descriptor = os.open(base, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.ELOOP, "it is no plain file", str(self.path / name))
        return os.fdopen(descriptor, "rb")

    def read(self, name: str) -> bytes:
        """Return the content of a regular file. Raises `OSError`."""
        with self.open(name) as file:
            return file.read()

    def create(self, name: str) -> BinaryIO:
        """Create a new file that only its owner can read; create missing folders above it too."""
        folder, base = self._parent(name, create=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(base, flags, 0o600, dir_fd=folder)
        self._change_owner(descriptor)
        return os.fdopen(descriptor, "wb")

    def open_lock(self, name: str) -> BinaryIO:
        """Open an empty lock file; create it if it does not exist."""
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=self._root)
        self._change_owner(descriptor)
        return os.fdopen(descriptor, "r+b")

    def create_folder(self, name: str) -> None:
        """Create a folder directly below this one. Raises `FileExistsError`."""
        os.mkdir(name, 0o700, dir_fd=self._root)
        if self._owner:
            os.chown(name, *self._owner, dir_fd=self._root, follow_symlinks=False)

    def link_from(self, other: "ConfinedFolder", name: str) -> bool:
        """Make a hard link to the other folder's file of the same name. Return False if the file
        system has no hard links."""
        theirs, base = other._parent(name)  # noqa: SLF001 - of the same class
        ours, _ = self._parent(name, create=True)
        try:
            os.link(base, base, src_dir_fd=theirs, dst_dir_fd=ours, follow_symlinks=False)
        except OSError as exc:
            if exc.errno in _NO_LINK:
                return False
            raise
        return True

    def replace(self, name: str, content: bytes) -> None:
        """Replace a file directly in this folder by one with this content, atomically and
        durably."""
        fresh = f"{name}.new"
        self.remove(fresh)
        with self.create(fresh) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, name, src_dir_fd=self._root, dst_dir_fd=self._root)
        os.fsync(self._root)

    def give_to_owner(self, name: str) -> None:
        """Make the folder's owner the owner of a file that another library created as root."""
        with self.open(name) as file:
            self._change_owner(file.fileno())

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        try:
            folder, base = self._parent(name)
            os.unlink(base, dir_fd=folder)
        except OSError as exc:
            if exc.errno not in _NO_SUCH_FILE:
                raise

    def remove_empty_folder(self, name: str) -> None:
        """Delete a folder if it is empty."""
        if name in self._open:
            os.close(self._open.pop(name))
        with suppress(OSError):
            folder, base = self._parent(name)
            os.rmdir(base, dir_fd=folder)

    def sync_disk(self) -> None:
        """Make all writes to the folder's file system durable by one call (syncfs(2)). One sync for
        each file would slow down the service. Raises `OSError`."""
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "syncfs"):
            os.sync()
        elif library.syncfs(self._root) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self.path))

    def _parent(self, name: str, *, create: bool = False) -> tuple[int, str]:
        parent, _, base = name.rpartition("/")
        return self._open_folder(parent, create=create), base

    def _open_folder(self, name: str, *, create: bool = False) -> int:
        """Return the descriptor of a folder below this one. Top-level folders stay open, and so
        does the last folder below them, since files come in order."""
        descriptor = self._open.get(name)
        if descriptor is None:
            above, _, base = name.rpartition("/")
            parent = self._open_folder(above, create=create)
            if create:
                self._ensure_folder(base, parent)
            descriptor = os.open(base, self._flags, dir_fd=parent)
            for nested in [other for other in self._open if "/" in other]:
                os.close(self._open.pop(nested))
            self._open[name] = descriptor
        return descriptor

    def _ensure_folder(self, name: str, parent: int) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
            if self._owner:
                os.chown(name, *self._owner, dir_fd=parent, follow_symlinks=False)

    def _change_owner(self, descriptor: int) -> None:
        if self._owner:
            os.fchown(descriptor, *self._owner)


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


class OpenFile:
    """A `StoredFile`. Bytes in the page cache are read directly, others by a thread."""

    def __init__(self, path: Path, place: str | None = None) -> None:
        self.place = place
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as exc:
            raise ImageNotFoundError from exc
        status = os.fstat(self._descriptor)
        self.size = status.st_size
        self.etag = f"{status.st_size:x}-{status.st_mtime_ns:x}"

    async def read(self, start: int, length: int) -> bytes:
        cached = self._cached(start, length)
        if cached is not None:
            return cached
        return await asyncio.to_thread(os.pread, self._descriptor, length, start)

    def close(self) -> None:
        os.close(self._descriptor)

    def _cached(self, start: int, length: int) -> bytes | None:
        """Return these bytes if the kernel has all of them in memory (preadv2(2), `RWF_NOWAIT`).
        Return None if not, or if the file system cannot tell."""
        length = max(0, min(length, self.size - start))
        buffer = bytearray(length)
        try:
            size = os.preadv(self._descriptor, [buffer], start, os.RWF_NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if size == length else None


def remove_all(paths: Iterable[Path]) -> list[OSError]:
    """Delete files; return the errors of those that could not be deleted or listed."""
    faults = []
    try:
        for path in paths:
            try:
                remove_durably(path)
            except OSError as exc:
                faults.append(exc)
    except OSError as exc:
        faults.append(exc)
    return faults
