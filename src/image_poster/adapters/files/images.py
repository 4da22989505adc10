"""Images as files, staged while they are received; `schema.Layout` has their paths."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import structlog

from image_poster.adapters.files.filesystem import (
    OpenFile,
    disk_errors,
    ensure_folder,
    move_durably,
    remove_all,
    remove_durably,
    share,
    sync,
    write_all,
)
from image_poster.adapters.files.schema import (
    PRIVATE_FILE,
    SHARED_FILE,
    SHARED_FOLDER,
    Layout,
    Quarantine,
    QuarantinedFile,
    is_spooled,
)
from image_poster.domain.errors import ImageNotFoundError
from image_poster.domain.ids import is_id
from image_poster.domain.images import RENDITIONS
from image_poster.ports.images import (
    FileRecord,
    FilesRemainError,
    StagedImage,
    StoredFile,
    Workspace,
)

_BUFFER_BYTES = 1024 * 1024


class StagedFile:
    """A `StagedImage`: it buffers one mebibyte of bytes, then a thread writes them."""

    def __init__(self, layout: Layout, spooled: Path, target: Path) -> None:
        self._layout = layout
        self._spooled = spooled
        self._target = target
        self._file: BinaryIO | None = None
        self._buffer = bytearray()
        self._written = 0

    async def write(self, chunk: bytes) -> None:
        self._buffer += chunk
        if len(self._buffer) >= _BUFFER_BYTES:
            await asyncio.to_thread(self._flush)

    async def commit(self) -> None:
        await asyncio.to_thread(self._commit)

    async def discard(self) -> None:
        await asyncio.to_thread(self._discard)

    def _flush(self) -> None:
        self._layout.check_free_space(len(self._buffer))
        with disk_errors():
            if self._file is None:
                self._file = self._spooled.open("xb", buffering=0)
        write_all(self._file.fileno(), self._buffer, self._written)
        self._written += len(self._buffer)
        self._buffer = bytearray()

    def _commit(self) -> None:
        self._flush()
        self._close()
        move_durably(self._spooled, self._target)

    def _discard(self) -> None:
        self._close()
        self._spooled.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()


_log = structlog.get_logger()

_ORIGINAL = "original"
_EVER = 2**62
# More than the two renditions of an image of noise take.
_RENDITIONS_BYTES = 3_000_000
# Of so many files it is remembered that they were opened lately.
_MAX_WARM = 8192


def record_of(name: str, path: Path) -> FileRecord:
    """Return the name, size and SHA-256 digest of a file. Raises `OSError`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return FileRecord(name, os.fstat(file.fileno()).st_size, digest)


def _modified_ms(status: os.stat_result) -> float:
    return status.st_mtime * 1000


def _changed_ms(status: os.stat_result) -> float:
    """The time of the last move or change of permissions, which no program can set."""
    return status.st_ctime * 1000


class FileImageStore:
    """`ImageStore` in files."""

    def __init__(self, layout: Layout, group: int | None = None) -> None:
        """The group id `group` may read renditions."""
        self._group = group
        self._layout = layout
        self._quarantine = Quarantine(layout)
        self._warm: OrderedDict[Path, None] = OrderedDict()

    def stage(self, post_id: str) -> StagedImage:
        spooled = self._layout.spool / f"{post_id}.{os.urandom(4).hex()}"
        return StagedFile(self._layout, spooled, self._layout.original(post_id))

    @asynccontextmanager
    async def workspace(self, post_id: str) -> AsyncIterator[Workspace]:
        original = self._layout.original(post_id)
        if not original.exists():
            raise ImageNotFoundError
        self._layout.check_free_space(_RENDITIONS_BYTES)
        folder = Path(tempfile.mkdtemp(prefix=f"{post_id}.", dir=self._layout.spool))
        try:
            yield Workspace(original, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def publish(
        self, post_id: str, work: Workspace, *, withheld: bool = False
    ) -> list[FileRecord]:
        return await asyncio.to_thread(self._publish, post_id, work.folder, withheld=withheld)

    async def withhold(self, post_id: str) -> None:
        await asyncio.to_thread(self._withhold, post_id)

    async def expose(self, post_id: str) -> None:
        await asyncio.to_thread(self._expose, post_id)

    async def has_original(self, post_id: str) -> bool:
        return self._layout.original(post_id).exists()

    async def has_arrived(self, post_id: str) -> bool:
        del post_id  # whatever comes, comes through the service
        return False

    async def open_original(self, post_id: str) -> StoredFile:
        return OpenFile(self._layout.original(post_id))

    async def open_rendition(self, post_id: str, rendition: str) -> StoredFile:
        try:
            return await self._open_public(post_id, rendition)
        except ImageNotFoundError:
            return await self.open_withheld(post_id, rendition)

    async def open_withheld(self, post_id: str, rendition: str) -> StoredFile:
        """Open a rendition without a `place`: no proxy may send it. A file that is moved at the
        same time is in the first place again."""
        public = self._layout.rendition(post_id, rendition)
        withheld = self._layout.withheld(post_id, rendition)
        for path in (withheld, public):
            with contextlib.suppress(ImageNotFoundError):
                return await asyncio.to_thread(OpenFile, path)
        return await asyncio.to_thread(OpenFile, withheld)

    async def _open_public(self, post_id: str, rendition: str) -> StoredFile:
        """Open a rendition. The first time, a thread opens it, since a disk may need a while to
        find a file. Afterwards the kernel has the file in its cache, and it is opened directly."""
        path = self._layout.rendition(post_id, rendition)
        place = f"/{self._layout.relative(path)}"
        if path in self._warm:
            self._warm.move_to_end(path)
            return OpenFile(path, place)
        opened = await asyncio.to_thread(OpenFile, path, place)
        self._warm[path] = None
        if len(self._warm) > _MAX_WARM:
            self._warm.popitem(last=False)
        return opened

    async def remove(self, post_id: str) -> None:
        await asyncio.to_thread(self._remove, post_id)

    async def leftovers(self, older_than_ms: int) -> AsyncIterator[str]:
        await asyncio.to_thread(self._drop_spooled, older_than_ms)
        for shard in await asyncio.to_thread(self._layout.shards):
            try:
                post_ids = await asyncio.to_thread(_ids_older, shard, older_than_ms)
            except OSError as exc:  # other folders have their turn
                _log.error("a folder cannot be swept", folder=str(shard), error=str(exc))
                continue
            for post_id in post_ids:
                yield post_id

    async def quarantine(self, post_id: str, now_ms: int) -> int:
        return await asyncio.to_thread(self._quarantine.take, post_id, now_ms)

    async def quarantined(self, before_ms: int) -> AsyncIterator[str]:
        for post_id in await asyncio.to_thread(self._quarantine.posts, before_ms):
            yield post_id

    async def put_back(self, post_id: str, *, awaiting: bool) -> int:
        return await asyncio.to_thread(self._quarantine.put_back, post_id, awaiting=awaiting)

    async def purge(self, post_id: str, before_ms: int) -> int:
        return await asyncio.to_thread(self._quarantine.drop, post_id, before_ms)

    def in_quarantine(self) -> Iterator[QuarantinedFile]:
        """Return all files in quarantine, those of the oldest day first."""
        return self._quarantine.files()

    def kept(self) -> Iterator[str]:
        """Return the post ids of all originals and renditions in readable folders."""
        for shard in self._layout.shards():
            with contextlib.suppress(PermissionError):
                yield from _ids_older(shard, _EVER)

    def path_of(self, post_id: str, name: str) -> Path:
        """Return the path of the file that a record with this name describes. A rendition that is
        missing in both places has its public path."""
        if name == _ORIGINAL:
            return self._layout.original(post_id)
        public, withheld = (
            self._layout.rendition(post_id, name),
            self._layout.withheld(post_id, name),
        )
        return withheld if withheld.exists() and not public.exists() else public

    async def public_among(self, post_ids: Sequence[str]) -> list[str]:
        """Return those of the posts that have renditions in the public place."""
        return await asyncio.to_thread(self._public_among, post_ids)

    async def withheld_before(self, before_ms: int) -> AsyncIterator[str]:
        """Return the ids of posts with renditions that were withheld before that time."""
        for shard in await asyncio.to_thread(self._layout.withheld_shards):
            for post_id in await asyncio.to_thread(_ids_older, shard, before_ms, _changed_ms):
                yield post_id

    def _public_among(self, post_ids: Sequence[str]) -> list[str]:
        paths = ((post_id, self._layout.renditions(post_id)) for post_id in post_ids)
        return [post_id for post_id, public in paths if any(path.exists() for path in public)]

    def _publish(self, post_id: str, folder: Path, *, withheld: bool) -> list[FileRecord]:
        for name, (public, private) in zip(
            RENDITIONS, self._layout.rendition_places(post_id), strict=True
        ):
            source = folder / f"{name}.jpg"
            if withheld:
                # Former work may have published one: it must not stay in the public place.
                remove_durably(public)
                move_durably(source, private)
            else:
                self._move_to_public(source, public)
                remove_durably(private)
        records = []
        for name in (_ORIGINAL, *RENDITIONS):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                records.append(record_of(name, self.path_of(post_id, name)))
        return records

    def _move_to_public(self, source: Path, target: Path) -> None:
        """Move a rendition into the public place, readable by the group. Raises
        `FileNotFoundError`."""
        if self._group is not None:
            ensure_folder(target.parent)
            share(target.parent, self._group, SHARED_FOLDER)
            share(source, self._group, SHARED_FILE)
        move_durably(source, target)

    def _withhold(self, post_id: str) -> None:
        for public, private in self._layout.rendition_places(post_id):
            with contextlib.suppress(FileNotFoundError):  # it is there already
                move_durably(public, private)
                sync(public.parent)
            # Only now: a crash must not leave a public file that no proxy can read. This is also
            # the time of the move, since it changes the file's ctime (inode(7)).
            with contextlib.suppress(FileNotFoundError):
                private.chmod(PRIVATE_FILE)

    def _expose(self, post_id: str) -> None:
        for public, private in self._layout.rendition_places(post_id):
            with contextlib.suppress(FileNotFoundError):
                self._move_to_public(private, public)
                sync(private.parent)

    def _remove(self, post_id: str) -> None:
        """Delete all files of the post that can be deleted, beginning with those in the shared
        folder. Raises `OSError` for a rendition that remains, `FilesRemainError` for another
        file."""
        public = self._layout.renditions(post_id)
        private = (path for path in self._layout.files_of(post_id) if path not in public)
        remove_all(public)
        private_faults = remove_all(private) + remove_all(self._quarantine.paths_of(post_id))
        public_faults = remove_all(public)  # again: `expose` may have run at the same time
        if public_faults:
            raise public_faults[0]
        if private_faults:
            first = private_faults[0]
            raise FilesRemainError(first.errno, first.strerror, first.filename) from first

    def _drop_spooled(self, older_than_ms: int) -> None:
        for path in _older(self._layout.spool, older_than_ms):
            if not is_spooled(path.name):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _older(
    folder: Path, than_ms: int, time_ms: Callable[[os.stat_result], float] = _modified_ms
) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile, by its owner
                if time_ms(entry.stat(follow_symlinks=False)) < than_ms:
                    yield Path(entry.path)


def _ids_older(
    folder: Path, than_ms: int, time_ms: Callable[[os.stat_result], float] = _modified_ms
) -> list[str]:
    names = {path.name.partition(".")[0] for path in _older(folder, than_ms, time_ms)}
    return sorted(filter(is_id, names))  # other names are no files of ours
