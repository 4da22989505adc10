"""Uploads under way, remembered in the user's state folder, so that the same command goes on after
it, or the machine, was stopped.

One small file an upload: its name is drawn from the service, the user, the texts and the SHA-256 of
the image; it holds an `UploadState`, and is locked while an upload is going on.
"""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import msgspec
from platformdirs import user_state_path

from image_poster.client.results import InUseError
from image_poster.client.steps import UploadState

# Much longer than a service keeps an idempotency key (7 days): only who remembers that something
# was sent can ask whether to send it again.
KEPT_SECONDS = 60 * 24 * 3600
_RECORD_NAME = re.compile(r"[0-9a-f]{64}")


class UploadIdentity(NamedTuple):
    """What makes an upload the same one again; `copy` tells apart the same image posted more than
    once by one command."""

    service: str
    user: str
    image_sha256: str
    caption: str
    alt: str
    copy: int = 0


def sha256_of(path: Path) -> str:
    """The fingerprint of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def new_state() -> UploadState:
    """The state of an upload whose creation has not been asked for, with a new key."""
    return UploadState(token_hex(16))


class Record:
    """One upload's place in the journal, for as long as it is held."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.state = _read(descriptor) or new_state()

    def remember(self, state: UploadState) -> None:
        """Write the state to the file, so that it survives the end of this process."""
        self.state = state
        text = msgspec.json.encode(state)
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))

    def forget(self) -> None:
        """Remove the file: the same image posted again makes another post."""
        self._path.unlink(missing_ok=True)


class Journal:
    """The records of one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or user_state_path("image-poster") / "uploads"

    @contextmanager
    def record(self, identity: UploadIdentity) -> Iterator[Record]:
        """The record of an upload, new or remembered. Raises `InUseError` while another process
        has it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._drop_old()
        name = hashlib.sha256(msgspec.json.encode(identity)).hexdigest()
        path = self._folder / name
        descriptor = _locked(path)
        try:
            yield Record(path, descriptor)
        finally:
            os.close(descriptor)

    def _drop_old(self) -> None:
        for path in self._folder.iterdir():
            is_record = _RECORD_NAME.fullmatch(path.name) is not None
            if is_record and path.stat().st_mtime < time.time() - KEPT_SECONDS:
                path.unlink(missing_ok=True)


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(descriptor)
            raise InUseError("another command is uploading this image right now") from exc
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # whoever had it has just forgotten it


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> UploadState | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 64 * 1024, 0), type=UploadState)
    except msgspec.DecodeError:
        return None
