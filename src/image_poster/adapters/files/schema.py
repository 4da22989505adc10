"""Layout of the data folder.

- `spool/{post_id}.{random}`: an original during its upload, or a folder of work in progress
- `uploads/{xx}/{post_id}`: the received bytes of a resumable upload; its size is the offset
- `uploads/{xx}/{post_id}.owner`: the mark of the writer that may append
- `uploads/{xx}/{post_id}.unverified`: the offset at which unverified bytes begin
- `uploads/{xx}/{post_id}.synced`: the number of synced bytes, and the id of the boot
- `originals/{xx}/{post_id}`: the unchanged upload
- `renditions/{xx}/{post_id}.600.jpg`, `…1600.jpg`
- `quarantine/`: files whose posts are not in the database (see `quarantine.py`)

`xx` stands for the last two characters of the id, which are random, so that no folder grows too
large.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from image_poster.adapters.files.durable import check_free_space, ensure_folder, share
from image_poster.domain.ids import is_id
from image_poster.domain.images import RENDITIONS

SHARED_FOLDER, SHARED_FILE = 0o750, 0o640
_SPOOL_SUFFIX = 8
POST_FOLDERS = ("uploads", "originals", "renditions")  # in which an image's bytes move on
_POST_FILE = re.compile(
    r"(?:(?:uploads|originals)/(?P<shard>..)/(?P<id>[^/.]+)"
    rf"|renditions/(?P<shard_r>..)/(?P<id_r>[^/.]+)\.(?:{'|'.join(RENDITIONS)})\.jpg)"
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


def rendition_names(post_id: str) -> set[str]:
    """The paths of a ready post's renditions in the data folder."""
    return {f"renditions/{post_id[-2:]}/{post_id}.{name}.jpg" for name in RENDITIONS}


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
        """Return the paths of the original and the renditions."""
        return [self.original(post_id), *self.renditions(post_id)]

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
        if self._renditions.stat().st_mode & 0o077:
            self._renditions.chmod(0o700)

    def uploads(self) -> Iterator[Path]:
        """Return the paths of the files with the bytes of resumable uploads."""
        return (path for path in self._uploads.glob("*/*") if is_id(path.name))

    def shards(self) -> list[Path]:
        """Return the folders `{xx}` that contain files of posts."""
        return [shard for folder in self._kept() for shard in folder.iterdir() if shard.is_dir()]

    def _kept(self) -> tuple[Path, ...]:
        return (self._uploads, self._originals, self._renditions)
