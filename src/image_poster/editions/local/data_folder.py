"""The data folder: one server at a time, and the key that cursors are signed with."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image_poster.editions import StartError

_KEY_BYTES = 32


def database_path(data_dir: Path) -> Path:
    """Where the database is."""
    return data_dir / "image_poster.db"


def prepare(data_dir: Path) -> None:
    """Make the folder. Raises `StartError` when that cannot be."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise StartError(f"data_dir {data_dir} cannot be written to.")


@contextmanager
def exclusively(data_dir: Path) -> Iterator[None]:
    """Hold the folder as its only server. The lock goes with the process, however that ends;
    whoever gets it knows that nobody else works here. Raises `StartError`."""
    with (data_dir / "server.lock").open("a+") as lock:
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


def signing_key(data_dir: Path) -> bytes:
    """The secret behind signed cursors, made once; readable by its owner only."""
    path = data_dir / "cursor.key"
    if not path.exists():
        fresh = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    return path.read_bytes()
