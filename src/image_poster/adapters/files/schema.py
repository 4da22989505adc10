"""Layout of the data folder, and its quarantine.

- `spool/{post_id}.{random}`: an original during its upload, or a folder of work in progress
- `uploads/{xx}/{post_id}`: the received bytes of a resumable upload; its size is the offset
- `uploads/{xx}/{post_id}.owner`: the mark of the writer that may append
- `uploads/{xx}/{post_id}.unverified`: the offset at which unverified bytes begin
- `uploads/{xx}/{post_id}.synced`: the number of synced bytes, and the id of the boot
- `originals/{xx}/{post_id}`: the unchanged upload
- `renditions/{xx}/{post_id}.600.jpg`, `…1600.jpg`: those of public posts
- `withheld/{xx}/{post_id}.600.jpg`, `…1600.jpg`: the renditions of posts that are not public. Only
  the service reads them; `renditions/` may be open to a proxy
- `quarantine/{yyyy-mm-dd}/originals/{xx}/{post_id}`, and likewise for the other folders of posts:
  files without a post in the database, to be restored or deleted later

`xx` stands for the last two characters of the id, which are random, so that no folder grows too
large. A folder of the quarantine is named for the day (UTC) of the move. Files keep their own
times, and a copy of the folder keeps the day too. A day can be purged once it is over. Files with
other names are never touched.
"""

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from image_poster.adapters.files.filesystem import (
    check_free_space,
    ensure_folder,
    move_durably,
    remove_durably,
    share,
    sync,
)
from image_poster.domain.ids import is_id
from image_poster.domain.images import RENDITIONS

SHARED_FOLDER, SHARED_FILE = 0o750, 0o640
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_SPOOL_SUFFIX = 8
_DAY = "%Y-%m-%d"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# In which an image's bytes move on. Renditions also move back, from `withheld`.
POST_FOLDERS = ("uploads", "originals", "renditions", "withheld")
_POST_FILE = re.compile(
    r"(?:(?:uploads|originals)/(?P<shard>..)/(?P<id>[^/.]+)"
    rf"|(?:renditions|withheld)/(?P<shard_r>..)/(?P<id_r>[^/.]+)\.(?:{'|'.join(RENDITIONS)})\.jpg)"
)


def post_of(path: str) -> str | None:
    """Return the post id of an image file by its path in the data folder. Return None for a path
    that is not of this layout."""
    match = _POST_FILE.fullmatch(path)
    if match is None:
        return None
    shard, post_id = match["shard"] or match["shard_r"], match["id"] or match["id_r"]
    return post_id if is_id(post_id) and shard == post_id[-2:] else None


def original_name(post_id: str) -> str:
    """The path of a post's original in the data folder."""
    return f"originals/{post_id[-2:]}/{post_id}"


def rendition_names(post_id: str) -> list[tuple[str, str]]:
    """The two paths in the data folder that each rendition may have: public and withheld."""
    names = [f"{post_id[-2:]}/{post_id}.{name}.jpg" for name in RENDITIONS]
    return [(f"renditions/{name}", f"withheld/{name}") for name in names]


def is_spooled(name: str) -> bool:
    """Return True for a name that the service gives to entries of `spool/`; only those are
    deleted."""
    post_id, _, suffix = name.partition(".")
    return is_id(post_id) and len(suffix) == _SPOOL_SUFFIX


class Layout:
    """The paths of one data folder; creates the folders that it needs.

    `reserve_bytes` of its disk are reserved for texts and deletions: on a full disk, not even an
    image could be deleted.
    """

    def __init__(self, root: Path, reserve_bytes: int = 0) -> None:
        self._root = root
        self._reserve_bytes = reserve_bytes
        self.spool = root / "spool"
        self.quarantine = root / "quarantine"
        self._uploads = root / "uploads"
        self._originals = root / "originals"
        self._renditions = root / "renditions"
        self._withheld = root / "withheld"
        for folder in (self.spool, self.quarantine, *self._kept()):
            ensure_folder(folder)

    def relative(self, path: Path) -> Path:
        """A path of this layout as seen from the data folder."""
        return path.relative_to(self._root)

    def check_free_space(self, size: int) -> None:
        """Raises `StorageFullError` if storing `size` bytes of an image would leave less than
        `reserve_bytes` free."""
        check_free_space(self._root, size, reserve=self._reserve_bytes)

    def upload(self, post_id: str) -> Path:
        return self._uploads / post_id[-2:] / post_id

    def owner(self, post_id: str) -> Path:
        return self._uploads / post_id[-2:] / f"{post_id}.owner"

    def unverified(self, post_id: str) -> Path:
        return self._uploads / post_id[-2:] / f"{post_id}.unverified"

    def synced(self, post_id: str) -> Path:
        return self._uploads / post_id[-2:] / f"{post_id}.synced"

    def formerly_unverified(self, post_id: str) -> Path:
        """Return the former name of `unverified`: a crash before an upgrade may have left such a
        mark."""
        return self._uploads / post_id[-2:] / f"{post_id}.trial"

    def original(self, post_id: str) -> Path:
        return self._originals / post_id[-2:] / post_id

    def rendition(self, post_id: str, rendition: str) -> Path:
        return self._renditions / post_id[-2:] / f"{post_id}.{rendition}.jpg"

    def renditions(self, post_id: str) -> list[Path]:
        """Return the paths of all renditions of a ready post."""
        return [self.rendition(post_id, name) for name in RENDITIONS]

    def withheld(self, post_id: str, rendition: str) -> Path:
        """Return the path of a rendition of a post that is not public."""
        return self._withheld / post_id[-2:] / f"{post_id}.{rendition}.jpg"

    def rendition_places(self, post_id: str) -> list[tuple[Path, Path]]:
        """Return the two paths that each rendition may have: public and withheld."""
        return [
            (self.rendition(post_id, name), self.withheld(post_id, name)) for name in RENDITIONS
        ]

    def files_of(self, post_id: str) -> list[Path]:
        """Return the paths of all files that a post may have."""
        return [
            self.upload(post_id),
            self.owner(post_id),
            self.unverified(post_id),
            self.formerly_unverified(post_id),
            self.synced(post_id),
            *self.images_of(post_id),
        ]

    def images_of(self, post_id: str) -> list[Path]:
        """Return the paths of the original and the renditions, in both places of these."""
        withheld = [self.withheld(post_id, name) for name in RENDITIONS]
        return [self.original(post_id), *self.renditions(post_id), *withheld]

    def share_renditions(self, group: int) -> None:
        """Let a group read all renditions. Does nothing if the group can read the folder already:
        files published since then were shared one by one."""
        now = self._renditions.stat()
        if (now.st_gid, now.st_mode & 0o777) == (group, SHARED_FOLDER):
            return
        for shard in self._renditions.iterdir():
            for path in shard.iterdir():
                share(path, group, SHARED_FILE)
            share(shard, group, SHARED_FOLDER)
        share(self._renditions, group, SHARED_FOLDER)  # last: it says that all are

    def hide_renditions(self) -> None:
        """Make all renditions readable by the service's own user only."""
        _make_private(self._renditions)

    def hide_withheld(self) -> None:
        """Make the renditions of posts that are not public readable by the service's own user
        only."""
        _make_private(self._withheld)

    def uploads(self) -> Iterator[Path]:
        """Return the paths of the files with the bytes of resumable uploads."""
        return (path for path in self._uploads.glob("*/*") if is_id(path.name))

    def shards(self) -> list[Path]:
        """Return the folders `{xx}` that contain files of posts."""
        return [shard for folder in self._kept() for shard in _shards_of(folder)]

    def withheld_shards(self) -> list[Path]:
        """Return the folders `{xx}` of renditions that are withheld."""
        return _shards_of(self._withheld)

    def _kept(self) -> tuple[Path, ...]:
        return (self._uploads, self._originals, self._renditions, self._withheld)


def _shards_of(folder: Path) -> list[Path]:
    return [shard for shard in folder.iterdir() if shard.is_dir()]


def _make_private(folder: Path) -> None:
    if folder.stat().st_mode & 0o077:
        folder.chmod(PRIVATE_FOLDER)


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
