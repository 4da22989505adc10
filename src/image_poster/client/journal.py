"""The journal of unfinished requests, in the user's state folder. With it the same upload or
comment resumes after the process or the machine stopped.

Each entry is one small file with a `ResumeState` in JSON, locked during the request. The file's
name is a hash of the request's identity.
"""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import msgspec
from platformdirs import user_state_path

from image_poster.client.results import GaveUpError, InUseError, SettingError

# Much longer than a service keeps an idempotency key (7 days): the client asks a person before it
# sends a request again, and can do so only while it has the entry.
ENTRY_SECONDS = 60 * 24 * 3600
# The same folder works again once there is space.
TRANSIENT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
_DAMAGED = -1.0
_ENTRY_NAME = re.compile(r"[0-9a-f]{64}")


EntryIdentity = tuple[str | int, ...]


class UploadIdentity(NamedTuple):
    """The values that identify an upload. `copy` distinguishes uploads of the same image by one
    command."""

    service: str
    user: str
    image_sha256: str
    caption: str
    alt: str
    copy: int = 0


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ResumeState(msgspec.Struct, frozen=True):
    """The state that a request needs to resume after a restart: its idempotency key and, for an
    upload, the location once known. `complete`: all bytes have arrived. `since`: the time of the
    first creation request (seconds since 1970); 0 for none."""

    key: str
    location: str = ""
    complete: bool = False
    since: float = 0.0


def new_state() -> ResumeState:
    """The state before the first request, with a new key."""
    return ResumeState(token_hex(16))


class UploadStateStore:
    """The state of one request, in memory only: as of a stream, which no later process could read
    again."""

    def __init__(self, state: ResumeState | None = None) -> None:
        self.state = state or new_state()

    def save(self, state: ResumeState) -> None:
        """Replace the state. Raises `GaveUpError`, `SettingError`."""
        self.state = state


class JournalEntry(UploadStateStore):
    """The state of one request in a file of the journal, while this process has its lock."""

    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(_read(descriptor))
        self._path = path
        self._descriptor = descriptor

    def save(self, state: ResumeState) -> None:
        """Write the state to the file, so that it survives the end of this process. The key
        survives a power cut too, before the creation is sent."""
        text = msgspec.json.encode(state)
        with _storage_errors(self._path.parent):
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))
            if state.since != self.state.since:
                os.fsync(self._descriptor)
                sync_folder(self._path.parent)
        super().save(state)

    def remove(self) -> None:
        """Remove the file: the same request then creates another post or comment."""
        with _storage_errors(self._path.parent):
            self._path.unlink(missing_ok=True)


class RequestJournal:
    """The entries of one folder, by default in the user's state folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @contextmanager
    def open_entry(self, identity: EntryIdentity) -> Iterator[JournalEntry]:
        """Lock and open an entry, new or stored. Raises `InUseError` while another process has it
        locked, and `GaveUpError` or `SettingError` if the folder cannot be used."""
        folder = self._folder or _state_folder()
        with _storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_old_entries(folder)
            path = folder / hashlib.sha256(msgspec.json.encode(identity)).hexdigest()
            descriptor = _open_locked(path)
        try:
            yield JournalEntry(path, descriptor)
        finally:
            os.close(descriptor)


def _state_folder() -> Path:
    """The default folder, looked up only when needed. Raises `SettingError`."""
    try:
        folder = user_state_path("image-poster") / "uploads"
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():
        raise SettingError(
            "There is no home folder for the state of uploads. Set HOME, or XDG_STATE_HOME to a "
            "folder of yours"
        )
    return folder


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the state folder into `GaveUpError` or `SettingError`."""
    try:
        yield
    except OSError as exc:
        kind = GaveUpError if exc.errno in TRANSIENT_ERRORS else SettingError
        raise kind(
            f"The state folder {folder} cannot be used: {exc.strerror or exc}. Without it, the "
            "same command could post twice. Repair it, or set XDG_STATE_HOME to a folder of yours"
        ) from exc


def _remove_old_entries(folder: Path) -> None:
    for path in folder.iterdir():
        if _ENTRY_NAME.fullmatch(path.name) is None:
            continue
        with suppress(OSError):  # another process removed it, or it is another user's
            if path.stat().st_mtime < time.time() - ENTRY_SECONDS:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(descriptor)
            raise InUseError("another command is sending the same now. Wait until it ends") from exc
        except OSError:
            os.close(descriptor)
            raise
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # the process that had the lock has just removed the entry


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> ResumeState:
    """The stored state, or a new one. A damaged entry has an unknown time: it counts as sent too
    long ago."""
    text = os.pread(descriptor, 64 * 1024, 0)
    if not text:
        return new_state()
    try:
        return msgspec.json.decode(text, type=ResumeState)
    except (ValueError, RecursionError):
        return ResumeState(new_state().key, since=_DAMAGED)
