"""Images: the untouched originals, the renditions, and the renderer."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from image_poster.domain.images import RenderedImage


class StagedImage(Protocol):
    """An original during its upload. Nobody can see it until `commit`."""

    async def write(self, chunk: bytes) -> None:
        """Append bytes. Raises `StorageFullError`."""
        ...

    async def commit(self) -> None:
        """Make it the post's original, durably: a crash after this loses nothing. Raises
        `StorageFullError`."""
        ...

    async def discard(self) -> None:
        """Drop the image, if it was not committed. Never raises."""
        ...


class Workspace(NamedTuple):
    """The files of image work: the original as a local file, and `folder` for the renditions, named
    `{rendition}.jpg`."""

    original: Path
    folder: Path


class StoredFile(Protocol):
    """A file to be served: `size` in bytes, and a strong `etag` without its quotes. `place` is its
    path relative to the data folder, for a proxy on the same machine; None: it has none."""

    size: int
    etag: str
    place: str | None

    async def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start`; fewer only at the end."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class FileRecord(NamedTuple):
    """A file of a post at its publication: `original` or a rendition's name, its bytes, and the
    SHA-256 of its content. `PostStore` stores records, so that damage to files can be detected."""

    name: str
    size: int
    sha256: bytes


class RemoteFile(NamedTuple):
    """A file that is served elsewhere, to any client with this `url`."""

    url: str


class FilesRemainError(OSError):
    """Files of a deleted post could not be removed; only the service can read them."""


class ImageStore(Protocol):
    """Stores originals and renditions by post id."""

    def stage(self, post_id: str) -> StagedImage:
        """Begin to receive the original of `post_id`."""
        ...

    def workspace(self, post_id: str) -> AbstractAsyncContextManager[Workspace]:
        """A temporary folder for image work. Raises `ImageNotFoundError` when there is no original,
        and `StorageFullError` when there is no free space for renditions."""
        ...

    async def publish(
        self, post_id: str, work: Workspace, *, withheld: bool = False
    ) -> Sequence[FileRecord]:
        """Store the renditions in `work`, durably; they replace any former ones. `withheld`: in the
        private place of `withhold`. Return the records of the post's files; none where the storage
        itself verifies them."""
        ...

    async def withhold(self, post_id: str) -> None:
        """Move the post's renditions out of the public place into a private one, durably. When this
        returns, no proxy and no CDN origin serves them. Missing files are no error, so that a
        repetition completes it."""
        ...

    async def expose(self, post_id: str) -> None:
        """Move the post's renditions back into the public place, durably, as the reverse of
        `withhold`."""
        ...

    async def has_original(self, post_id: str) -> bool:
        """Return True if the untouched upload is there, complete."""
        ...

    async def has_arrived(self, post_id: str) -> bool:
        """Return True if an image for this post was sent directly to the storage, and is not
        processed yet."""
        ...

    async def open_original(self, post_id: str) -> StoredFile | RemoteFile:
        """The untouched upload. Raises `ImageNotFoundError`."""
        ...

    async def open_rendition(self, post_id: str, rendition: str) -> StoredFile | RemoteFile:
        """A rendition by its name, for everybody: from the public place, or from the private one
        while `expose` has not moved it. Raises `ImageNotFoundError`, unless renditions are served
        elsewhere."""
        ...

    async def open_withheld(self, post_id: str, rendition: str) -> StoredFile | RemoteFile:
        """A rendition by its name, for a caller who may see a post that is not public. It comes
        from the private place, or from the public one while `withhold` has not moved it. A remote
        file's URL expires within minutes. Raises `ImageNotFoundError`."""
        ...

    async def remove(self, post_id: str) -> None:
        """Delete the post's original, all renditions, upload data, and files of these in
        quarantine, durably. Missing files are no error.

        Publicly readable files go first. Raises `FilesRemainError` when only private files are
        left, which a repetition may remove.

        Call it only for posts that are known to have been deleted, or that the caller's own request
        created and refused. A post that the database does not know may not be removed: it may be
        the wrong database.
        """
        ...


class SweepableImages(ImageStore, Protocol):
    """Stores whose abandoned files only the sweeper removes (one machine)."""

    def leftovers(self, older_than_ms: int) -> AsyncIterator[str]:
        """Drop files that were staged before that time and never committed. Then yield the post ids
        of all older stored files, for the caller to check."""
        ...

    async def quarantine(self, post_id: str, now_ms: int) -> int:
        """Move all files of the post to quarantine, durably; they are invisible there. Return the
        number of files moved.

        `now_ms` is stored as the time of the move, at least to the day. No file in quarantine is
        replaced.
        """
        ...

    def quarantined(self, before_ms: int) -> AsyncIterator[str]:
        """The ids of posts with files that were moved to quarantine before that time. A store may
        list them up to a day late."""
        ...

    async def put_back(self, post_id: str, *, awaiting: bool) -> int:
        """Move the post's files from quarantine back, durably, and those of its upload if it is
        `awaiting` that. Existing files are not replaced. Return the number of files moved."""
        ...

    async def purge(self, post_id: str, before_ms: int) -> int:
        """Delete the post's files that `quarantined` listed; return their number."""
        ...


class ImageRenderer(Protocol):
    """Makes the renditions of one image, from one decode."""

    async def render(self, work: Workspace) -> RenderedImage:
        """Write `600.jpg` and `1600.jpg` into the workspace's folder: upright, sRGB, no metadata.

        Raises `ImageRejectedError` for an image that cannot be shown, `ImageWorkFailedError` for
        any failure that is not the image's fault. No image, however malformed, ends the caller's
        process.
        """
        ...
