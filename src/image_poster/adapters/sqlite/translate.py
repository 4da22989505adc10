"""SQLite's errors, in our words."""

import sqlite3

from image_poster.domain.errors import BusyError, StorageFullError

_FULL = {sqlite3.SQLITE_FULL}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def translated(error: Exception) -> Exception:
    """`StorageFullError` or `BusyError` where that is what it means (https://www.sqlite.org/rescode.html);
    else the error itself, to be logged as a fault of ours."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in _FULL:
        return _caused(StorageFullError(), error)
    if primary in _BUSY:
        return _caused(BusyError(), error)
    return error


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error
