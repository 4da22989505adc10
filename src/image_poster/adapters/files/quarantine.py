"""Quarantine: files without a post in the database, moved here to be restored or deleted later.

    quarantine/{yyyy-mm-dd}/originals/{xx}/{post_id}, and likewise uploads/ and renditions/

The folder's name is the day (UTC) of the move. Files keep their own times, and a copy of the folder
keeps the day too. A day can be purged once it is over. Files with other names are never touched.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from image_poster.adapters.files.durable import move_durably, remove_durably, sync
from image_poster.adapters.files.schema import Layout
from image_poster.domain.ids import is_id

_DAY = "%Y-%m-%d"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class QuarantinedFile(NamedTuple):
    """A file in quarantine, the id of its post, and the day of the move (`yyyy-mm-dd`)."""

    path: Path
    post_id: str
    day: str


class Quarantine:
    """The quarantine of one data folder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def take(self, post_id: str, now_ms: int) -> int:
        """Move every file of the post to the quarantine, durably; return their number. No file is
        replaced: one of the same name and day stays where it is until another day."""
        folder = self._layout.quarantine / _moment(now_ms).strftime(_DAY)
        return sum(
            _moved(path, folder / self._layout.relative(path))
            for path in self._layout.files_of(post_id)
        )

    def files(self, before_ms: int | None = None) -> Iterator[QuarantinedFile]:
        """Return all files, oldest day first; with `before_ms`, only those of days that ended by
        then."""
        for folder in self._days(before_ms):
            yield from _files_in(folder)

    def posts(self, before_ms: int) -> list[str]:
        """Return the ids of posts with files of days that ended by `before_ms`. Remove empty
        folders of those days."""
        for day in self._days(before_ms):
            for folder in sorted(day.rglob("*"), reverse=True):
                _remove_if_empty(folder)
            _remove_if_empty(day)
        return sorted({file.post_id for file in self.files(before_ms)})

    def put_back(self, post_id: str, *, awaiting: bool) -> int:
        """Move the youngest version of each of the post's files back; return their number. Files of
        an upload are moved back only if the post is `awaiting` it."""
        paths = self._layout.files_of(post_id) if awaiting else self._layout.images_of(post_id)
        return sum(
            _moved(folder / self._layout.relative(path), path)
            for folder in reversed(self._days(None))
            for path in paths
        )

    def drop(self, post_id: str, before_ms: int | None = None) -> int:
        """Delete the post's files, with `before_ms` only those of days that ended by then. Return
        their number."""
        return sum(map(remove_durably, self.paths_of(post_id, before_ms)))

    def paths_of(self, post_id: str, before_ms: int | None = None) -> Iterator[Path]:
        """Return every path in the quarantine that a file of the post may have."""
        for folder in self._days(before_ms):
            for path in self._layout.files_of(post_id):
                yield folder / self._layout.relative(path)

    def _days(self, before_ms: int | None) -> list[Path]:
        moment = None if before_ms is None else _moment(before_ms)
        days = [(folder, _end_of(folder)) for folder in sorted(self._layout.quarantine.iterdir())]
        return [folder for folder, end in days if end and (moment is None or end <= moment)]


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _end_of(folder: Path) -> datetime | None:
    """Return the end of the day that the folder is named after; None for any other folder."""
    if folder.is_symlink() or not folder.is_dir():
        return None
    try:
        day = datetime.strptime(folder.name, _DAY).replace(tzinfo=UTC)
    except ValueError:
        return None
    return day + timedelta(days=1)


def _moved(path: Path, target: Path) -> bool:
    if target.exists():
        return False
    try:
        move_durably(path, target)
    except FileNotFoundError:  # there was none, or its owner was quicker
        return False
    sync(path.parent)
    return True


def _files_in(folder: Path) -> Iterator[QuarantinedFile]:
    for path in sorted(folder.glob("*/*/*")):
        post_id = path.name.partition(".")[0]
        if is_id(post_id) and path.is_file():
            yield QuarantinedFile(path, post_id, folder.name)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it is not empty, or no folder
        folder.rmdir()
