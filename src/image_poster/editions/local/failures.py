"""Errors of the disks and of SQLite, as one sentence for the operator."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from image_poster.adapters.files.durable import disk_errors
from image_poster.adapters.sqlite.database import translated
from image_poster.domain.errors import StorageFullError
from image_poster.editions import OperationFailedError


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
