"""Tells a data folder of this service from a folder that an operator named by mistake.

A folder is the service's own if it has the mark `folder.json`. A folder of a former version has no
mark. It is recognized by its database beside its key, or by having no entries but the service's.
"""

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import structlog

from image_poster.adapters.sqlite.database import connect
from image_poster.adapters.sqlite.schema import migrate
from image_poster.editions import StartError
from image_poster.editions.local.data_folder import (
    damaged,
    database_path,
    exclusively,
    prepare,
    require_right_database,
)
from image_poster.editions.local.folder_mark import MARK_NAME, read_mark, write_mark
from image_poster.editions.local.ownership import act_as_owner, close_folder

_log = structlog.get_logger()

_NOT_OURS = {"lost+found"}  # of the file system: mkfs creates it
_DATABASE, _KEY = "image_poster.db", "cursor.key"
_MANIFEST = "manifest.json"  # of a backup, which looks like a data folder otherwise
# Of a first start that broke off: nothing else is there yet.
_FIRST_FILES = {"server.lock", Path(MARK_NAME).with_suffix(".new").name}
OWN_NAME = re.compile(
    r"image_poster(\.v\d+)?\.db(-wal|-shm|-journal|\.new)?|[a-z]+\.(key|\d+)|server\.lock"
    r"|image-memory\.lock|keys\.lock|spool|quarantine|uploads|originals|renditions|metrics"
)


def enter_own_folder(data_dir: Path) -> None:
    """Act as the owner of the data folder, or create a new one. Raises `StartError`, with nothing
    changed, for a folder that is not empty and not the service's own."""
    act_as_owner(data_dir)
    if data_dir.is_dir() and _names(data_dir) and not is_own_folder(data_dir):
        raise StartError(
            f"data_dir {data_dir} is not empty, and it is no data folder of this service. Pass an "
            f"empty folder, or a new one such as {data_dir / 'image-poster'}. If it is a data "
            "folder without its database, first put that back. If it is a backup, use "
            "`image-poster restore`. Nothing was changed."
        )
    prepare(data_dir)


def mark_folder(data_dir: Path) -> None:
    """Create the mark of a folder that has none, under the server's lock. Raises `StartError`."""
    if read_mark(data_dir) is not None:
        return
    is_former = database_path(data_dir).exists()
    try:
        mark = write_mark(data_dir)
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be written to: {exc.strerror}.") from exc
    if is_former:
        _log.info("the data folder of a former version got its mark", id=mark.id)


def create_database(data_dir: Path, report: Callable[[str], None]) -> None:
    """Create the folder and its database as the first start does, if there is none. Raises
    `StartError`."""
    path = database_path(data_dir)
    if path.exists() and path.stat().st_size:
        return
    enter_own_folder(data_dir)
    close_folder(data_dir, report)
    with exclusively(data_dir):
        mark_folder(data_dir)
        require_right_database(data_dir)
        try:
            with closing(connect(path)) as connection:
                migrate(connection)
        except sqlite3.DatabaseError as exc:
            raise damaged(path, exc) from exc


def enter_with_database(data_dir: Path) -> None:
    """Act as the owner of a data folder that has a database, and create private files only. Raises
    `StartError`, with nothing changed, for any other folder."""
    act_as_owner(data_dir)
    path = database_path(data_dir)
    try:
        has_database = path.is_file() and path.stat().st_size > 0
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc
    if not has_database:
        raise StartError(
            f"there is no database in {data_dir}: pass --data-dir, or serve there first."
        )
    if not is_own_folder(data_dir):
        raise StartError(
            f"data_dir {data_dir} is not a data folder of this service, although it has a file "
            f"{_DATABASE}: pass another --data-dir. Nothing was changed."
        )
    os.umask(0o077)


def is_own_folder(data_dir: Path) -> bool:
    """True if the service created the folder. Raises `StartError` for a damaged mark."""
    names = _names(data_dir)
    if _MANIFEST in names:
        return False
    is_former = _is_former(names - {MARK_NAME})
    try:
        return read_mark(data_dir) is not None or is_former
    except StartError:
        if is_former:
            raise
        return False  # another program's file of that name


def _is_former(names: set[str]) -> bool:
    """True if the entries are those of a former version's folder, or of a start that broke off."""
    if {_DATABASE, _KEY} <= names:
        return True
    if names <= _FIRST_FILES:
        return bool(names)
    return bool({_DATABASE, _KEY} & names) and all(map(OWN_NAME.fullmatch, names))


def _names(data_dir: Path) -> set[str]:
    """The entries that are not of the file system. Raises `StartError`."""
    try:
        return set(os.listdir(data_dir)) - _NOT_OURS  # noqa: PTH208 - names only
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc
