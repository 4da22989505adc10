"""Images: the untouched originals, the renditions that are shown, and how these are made."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from image_poster.domain.images import RenderedImage


class StagedImage(Protocol):
    """An original that is being received. It does not exist for anyone until `commit`."""

    async def write(self, chunk: bytes) -> None:
        """Append bytes. Raises `StorageFullError`."""
        ...

    async def commit(self) -> None:
        """Make it the post's original, durably: a crash after this loses nothing. Raises
        `StorageFullError`."""
        ...

    async def discard(self) -> None:
        """Drop it, if it was not committed. Never raises."""
        ...


class Workspace(NamedTuple):
    """Where image work happens: the original as a local file, and a folder for what is made of it.

    Renditions go into `folder` as `{rendition}.jpg`.
    """

    original: Path
    folder: Path


class StoredFile(Protocol):
    """A file to be served: `size` in bytes, and a strong `etag` without its quotes. `place` is
    where a proxy on the same machine finds it, from the data folder on; None: nowhere."""

    size: int
    etag: str
    place: str | None

    async def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start`; fewer only at the end."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class RemoteFile(NamedTuple):
    """A file that is served elsewhere, to whoever has this `url`."""

    url: str


class FilesRemainError(OSError):
    """Files of a deleted post could not be removed; nobody but the service can read them."""


class ImageStore(Protocol):
    """Keeps originals and renditions by post id."""

    def stage(self, post_id: str) -> StagedImage:
        """Begin to receive the original of `post_id`."""
        ...

    def workspace(self, post_id: str) -> AbstractAsyncContextManager[Workspace]:
        """A folder to work in, gone at exit. Raises `ImageNotFoundError` when there is no
        original, and `StorageFullError` when there is no room for renditions."""
        ...

    async def publish(self, post_id: str, work: Workspace) -> None:
        """Keep the renditions in `work`, durably, in place of any that were there."""
        ...

    async def has_original(self, post_id: str) -> bool:
        """Whether the untouched upload is there, whole."""
        ...

    async def has_arrived(self, post_id: str) -> bool:
        """Whether an image was put for this post past the service, and nobody has taken it yet."""
        ...

    async def open_original(self, post_id: str) -> StoredFile | RemoteFile:
        """The untouched upload. Raises `ImageNotFoundError`."""
        ...

    async def open_rendition(self, post_id: str, rendition: str) -> StoredFile | RemoteFile:
        """A rendition by its name. Raises `ImageNotFoundError`, if it is not served elsewhere."""
        ...

    async def remove(self, post_id: str) -> None:
        """Delete the original, all renditions, what came of an upload, and what is in quarantine
        of these, durably. What is not there is no error. What others may read goes first; raises
        `FilesRemainError` when only private files are left, which a repetition may remove.

        Only for posts that are known to have been deleted, or that the caller's own request made
        and knows to have been refused. That a database does not know a post is no reason: it may
        be the wrong database.
        """
        ...


class ArrivingImages(ImageStore, Protocol):
    """Where images come from elsewhere, and what is nobody's is found by a walk."""

    async def kept(self, after: str) -> list[str]:
        """Post ids of some originals, in order, all of them greater than `after`; none at the
        end."""
        ...

    async def set_aside(self, post_id: str) -> bool:
        """Move the original out of everyone's sight, for some weeks. False if it is too young to be
        judged: its post may be on its way."""
        ...


class FileRecord(NamedTuple):
    """What a file of a post was when it was published: `original` or a rendition's name, its bytes,
    and the SHA-256 of its content."""

    name: str
    size: int
    sha256: bytes


class FileRecordStore(Protocol):
    """Remembers what files were, so that damage to them shows."""

    async def keep(self, post_id: str, records: Sequence[FileRecord]) -> None:
        """In place of any that there were. A no-op if the post is gone, with which they go."""
        ...


class SweepableImages(ImageStore, Protocol):
    """Where nobody else removes what was abandoned."""

    def leftovers(self, older_than_ms: int) -> AsyncIterator[str]:
        """Drop what was staged before that time and never committed; then yield the post ids of
        everything kept that is older, for the caller to check."""
        ...

    async def quarantine(self, post_id: str, now_ms: int) -> int:
        """Move all files of the post aside, durably: nobody sees them from then on. `now_ms` is
        remembered as the time of the move, at least to the day. How many files were moved; none of
        what is in quarantine is replaced."""
        ...

    def quarantined(self, before_ms: int) -> AsyncIterator[str]:
        """The ids of posts of which files were moved aside before that time. A store may be up to
        a day late with them."""
        ...

    async def put_back(self, post_id: str, *, awaiting: bool) -> int:
        """Move the post's files from quarantine to where they were, durably, and those of its
        upload if it is `awaiting` that. What is there is not replaced. How many were moved."""
        ...

    async def purge(self, post_id: str, before_ms: int) -> int:
        """Delete what `quarantined` told of this post; how many files there were."""
        ...


class ImageCache(Protocol):
    """A content delivery network in front of the renditions."""

    async def forget(self, post_id: str) -> None:
        """Have all copies of the post's renditions dropped, soon."""
        ...


class ImageRenderer(Protocol):
    """Makes the renditions of one image, from one decode."""

    async def render(self, work: Workspace) -> RenderedImage:
        """Write `600.jpg` and `1600.jpg` into the workspace's folder: upright, sRGB, no metadata.

        Raises `ImageRejectedError` for an image that cannot be shown, `ImageWorkFailedError` for
        anything that is not the image's fault. However bad the image, the caller survives.
        """
        ...
