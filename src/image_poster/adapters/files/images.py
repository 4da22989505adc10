"""Images as files; `schema.Layout` has their paths."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import structlog

from image_poster.adapters.files.filesystem import (
    disk_errors,
    ensure_folder,
    move_durably,
    remove_durably,
    share,
    write_all,
)
from image_poster.adapters.files.schema import (
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

_log = structlog.get_logger()

_ORIGINAL = "original"
_BUFFER_BYTES = 1024 * 1024
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


class _OpenFile:
    """A `StoredFile`. Bytes in the page cache are read directly, others by a thread."""

    def __init__(self, path: Path, place: str | None = None) -> None:
        self.place = place
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as exc:
            raise ImageNotFoundError from exc
        status = os.fstat(self._descriptor)
        self.size = status.st_size
        self.etag = f"{status.st_size:x}-{status.st_mtime_ns:x}"

    async def read(self, start: int, length: int) -> bytes:
        cached = self._cached(start, length)
        if cached is not None:
            return cached
        return await asyncio.to_thread(os.pread, self._descriptor, length, start)

    def close(self) -> None:
        os.close(self._descriptor)

    def _cached(self, start: int, length: int) -> bytes | None:
        """Return these bytes if the kernel has all of them in memory (preadv2(2), `RWF_NOWAIT`).
        Return None if not, or if the file system cannot tell."""
        length = max(0, min(length, self.size - start))
        buffer = bytearray(length)
        try:
            size = os.preadv(self._descriptor, [buffer], start, os.RWF_NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if size == length else None


class _StagedFile:
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
        return _StagedFile(self._layout, spooled, self._layout.original(post_id))

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

    async def publish(self, post_id: str, work: Workspace) -> list[FileRecord]:
        return await asyncio.to_thread(self._publish, post_id, work.folder)

    async def has_original(self, post_id: str) -> bool:
        return self._layout.original(post_id).exists()

    async def has_arrived(self, post_id: str) -> bool:
        del post_id  # whatever comes, comes through the service
        return False

    async def open_original(self, post_id: str) -> StoredFile:
        return _OpenFile(self._layout.original(post_id))

    async def open_rendition(self, post_id: str, rendition: str) -> StoredFile:
        """Open a rendition. The first time, a thread opens it, since a disk may need a while to
        find a file. Afterwards the kernel has the file in its cache, and it is opened directly."""
        path = self._layout.rendition(post_id, rendition)
        place = f"/{self._layout.relative(path)}"
        if path in self._warm:
            self._warm.move_to_end(path)
            return _OpenFile(path, place)
        opened = await asyncio.to_thread(_OpenFile, path, place)
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
        """Return the path of the file that a record with this name describes."""
        if name == _ORIGINAL:
            return self._layout.original(post_id)
        return self._layout.rendition(post_id, name)

    def _publish(self, post_id: str, folder: Path) -> list[FileRecord]:
        for name in RENDITIONS:
            source, target = folder / f"{name}.jpg", self._layout.rendition(post_id, name)
            if self._group is not None:
                ensure_folder(target.parent)
                share(target.parent, self._group, SHARED_FOLDER)
                share(source, self._group, SHARED_FILE)
            move_durably(source, target)
        records = []
        for name in (_ORIGINAL, *RENDITIONS):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                records.append(record_of(name, self.path_of(post_id, name)))
        return records

    def _remove(self, post_id: str) -> None:
        """Delete all files of the post that can be deleted, beginning with those in the shared
        folder. Raises `OSError` for a rendition that remains, `FilesRemainError` for another
        file."""
        public = self._layout.renditions(post_id)
        private = (path for path in self._layout.files_of(post_id) if path not in public)
        public_faults = _faults(public)
        private_faults = _faults(private) + _faults(self._quarantine.paths_of(post_id))
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


def _faults(paths: Iterable[Path]) -> list[OSError]:
    """Delete files; return the errors of those that could not be deleted or listed."""
    faults = []
    try:
        for path in paths:
            try:
                remove_durably(path)
            except OSError as exc:
                faults.append(exc)
    except OSError as exc:
        faults.append(exc)
    return faults


def _older(folder: Path, than_ms: int) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile, by its owner
                if entry.stat(follow_symlinks=False).st_mtime * 1000 < than_ms:
                    yield Path(entry.path)


def _ids_older(folder: Path, than_ms: int) -> list[str]:
    names = {path.name.partition(".")[0] for path in _older(folder, than_ms)}
    return sorted(filter(is_id, names))  # other names are no files of ours
