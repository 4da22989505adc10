"""Single image files: one that is read, and one that is being received."""

import asyncio
import os
from pathlib import Path
from typing import BinaryIO

from image_poster.adapters.files.filesystem import disk_errors, move_durably, write_all
from image_poster.adapters.files.schema import Layout
from image_poster.domain.errors import ImageNotFoundError

_BUFFER_BYTES = 1024 * 1024


class OpenFile:
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
