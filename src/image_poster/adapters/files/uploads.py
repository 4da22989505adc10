"""Resumable uploads as files: chunks are appended as they arrive, and the file's size is the
offset.

The file `.owner` contains the mark of the writer that may append. The writer checks it before each
write, under a lock on the upload (flock(2)). So a superseded writer writes nothing more, whatever
its process.

Bytes are synced every 8 MiB, and the file `.synced` contains the synced offset. A changed boot id
means that there may have been a power cut. Then all bytes behind the synced offset are dropped,
since a file may have its size without its content. An upload that never was synced loses all of its
bytes.
"""

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image_poster.adapters.files.filesystem import (
    disk_errors,
    ensure_folder,
    move_durably,
    sync,
    write_all,
)
from image_poster.adapters.files.schema import Layout
from image_poster.domain.errors import ChecksumMismatchError, UploadTakenOverError
from image_poster.ports.uploads import UploadWriter

_SYNC_EVERY_BYTES = 8 * 1024 * 1024
# https://www.kernel.org/doc/html/latest/admin-guide/sysctl/kernel.html#random
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# A takeover waits up to 40 ms for a writer that still writes, and 5 ms for an idle one.
_POLL_SECONDS, _IDLE_POLLS, _MAX_POLLS = 0.001, 5, 40


class _FileWriter:
    """An `UploadWriter`."""

    def __init__(
        self, store: "FileUploadStore", post_id: str, task: "asyncio.Task[object] | None"
    ) -> None:
        self.superseded = False
        self.offset = 0
        self._store = store
        self._post_id = post_id
        self._mark = os.urandom(8)
        self._task = task
        self._synced = 0
        self._unverified = False

    def claim(self, *, unverified: bool) -> None:
        """Make this writer the owner of the upload. Blocks; call it in a thread."""
        layout = self._store.layout
        marks = layout.unverified(self._post_id), layout.formerly_unverified(self._post_id)
        with self._store.locked(self._post_id) as descriptor:
            if self.superseded:  # by a newer writer, which keeps the upload
                self.offset = _verified_bytes(descriptor, *marks)
                return
            if self._store.is_upload(self._post_id, descriptor):  # an original is never shortened
                _drop_unverified(descriptor, *marks)
                self._synced = _drop_unsynced(descriptor, layout.synced(self._post_id))
            self.offset = os.fstat(descriptor).st_size
            self._unverified = unverified
            layout.owner(self._post_id).write_bytes(self._mark)
            if unverified:
                layout.unverified(self._post_id).write_text(str(self.offset))

    def supersede(self) -> None:
        """Mark this writer as superseded: it writes nothing more. Cancel the task that was
        writing."""
        self.superseded = True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def write(self, chunk: bytes) -> None:
        await asyncio.to_thread(self._append, chunk)

    async def rewind(self, offset: int) -> None:
        await asyncio.to_thread(self._truncate, offset)

    async def commit(self) -> None:
        self._unverified = False
        await asyncio.to_thread(self._sync_if_due)

    async def close(self) -> None:
        self._store.release(self._post_id, self)
        if self.superseded:  # the next writer drops unverified bytes
            return
        with contextlib.suppress(UploadTakenOverError):
            await asyncio.to_thread(self._remove_unverified_mark)

    def _append(self, chunk: bytes) -> None:
        self._store.layout.check_free_space(len(chunk))
        with self._owned() as descriptor:
            write_all(descriptor, chunk, self.offset)
            self.offset += len(chunk)
        self._sync_if_due()

    def _sync_if_due(self) -> None:
        if self._unverified or self.offset - self._synced < _SYNC_EVERY_BYTES:
            return
        mark = self._store.layout.synced(self._post_id)
        with self._owned() as descriptor, disk_errors():
            os.fdatasync(descriptor)
            _write_synced(mark, self.offset, durably=True)
            sync(mark.parent)
            self._synced = self.offset

    def _truncate(self, offset: int) -> None:
        with self._owned() as descriptor:
            if offset < self._synced:  # before other bytes come in the place of those
                _write_synced(self._store.layout.synced(self._post_id), offset, durably=True)
                self._synced = offset
            os.ftruncate(descriptor, offset)
            self.offset = offset

    def _remove_unverified_mark(self) -> None:
        with self._owned():
            self._store.layout.unverified(self._post_id).unlink(missing_ok=True)

    @contextmanager
    def _owned(self) -> Iterator[int]:
        with self._store.locked(self._post_id) as descriptor:
            if _read(self._store.layout.owner(self._post_id)) != self._mark:
                raise UploadTakenOverError
            yield descriptor


class FileUploadStore:
    """`UploadStore` in files."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._writers: dict[str, _FileWriter] = {}
        # Writers that have not taken over yet, by upload, in the order of their requests.
        self._waiting: dict[str, list[_FileWriter]] = {}

    async def take(
        self, post_id: str, *, unverified: bool = False, offset_hint: int | None = None
    ) -> UploadWriter:
        del offset_hint  # the file's size tells
        return await self._claimed(post_id, asyncio.current_task(), unverified=unverified)

    async def offset(self, post_id: str, *, offset_hint: int | None = None) -> int:
        del offset_hint  # the file's size tells
        # Without a task: a later request does not cancel this one.
        writer = await self._claimed(post_id, None, unverified=False)
        await writer.close()
        return writer.offset

    async def received(self, post_id: str) -> int:
        try:
            return self.layout.upload(post_id).stat().st_size
        except FileNotFoundError:
            return 0

    async def promote(self, post_id: str, sha256: bytes) -> None:
        await asyncio.to_thread(self._promote, post_id, sha256)

    async def _claimed(
        self, post_id: str, task: "asyncio.Task[object] | None", *, unverified: bool
    ) -> _FileWriter:
        writer = _FileWriter(self, post_id, task)
        try:
            await self._await_takeover(post_id, writer)
            if not writer.superseded:
                self._replace_writer(post_id, writer)
            await asyncio.to_thread(writer.claim, unverified=unverified)
        except asyncio.CancelledError as exc:
            if not writer.superseded or task is None:
                raise
            task.uncancel()  # the next writer cancelled it, before this one had begun
            raise UploadTakenOverError from exc
        return writer

    async def _await_takeover(self, post_id: str, writer: _FileWriter) -> None:
        """Wait as `_wait_until_idle` does. Then supersede the writers of older requests that still
        wait: the newest request keeps the upload, even if its wait ends first."""
        waiting = self._waiting.setdefault(post_id, [])
        waiting.append(writer)
        try:
            await self._wait_until_idle(post_id)
            if not writer.superseded:
                for older in waiting[: waiting.index(writer)]:
                    older.supersede()
        finally:
            waiting.remove(writer)
            if not waiting:
                del self._waiting[post_id]

    def _replace_writer(self, post_id: str, writer: _FileWriter) -> None:
        former = self._writers.get(post_id)
        self._writers[post_id] = writer
        if former is not None:
            former.supersede()

    async def _wait_until_idle(self, post_id: str) -> None:
        """Wait while the former writer is still writing, at most 40 ms. A request with a broken
        connection may still have to write bytes that arrived before."""
        former, idle, waited = self._writers.get(post_id), 0, 0
        while former is not None and idle < _IDLE_POLLS and waited < _MAX_POLLS:
            offset = former.offset
            await asyncio.sleep(_POLL_SECONDS)
            idle, waited = (idle + 1 if former.offset == offset else 0), waited + 1
            if self._writers.get(post_id) is not former:
                return  # it has closed

    def is_upload(self, post_id: str, descriptor: int) -> bool:
        """Return True if the descriptor, from `locked`, is of the upload's file, and the file has
        not become the original."""
        try:
            upload = self.layout.upload(post_id).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(upload, os.fstat(descriptor))

    def release(self, post_id: str, writer: _FileWriter) -> None:
        """Forget a writer, unless another has replaced it."""
        if self._writers.get(post_id) is writer:
            del self._writers[post_id]

    @contextmanager
    def locked(self, post_id: str) -> Iterator[int]:
        """Open the upload's file under an exclusive lock (flock(2)); create it if it does not
        exist. Once the upload has become the original, open the original."""
        descriptor = self._open(post_id)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, post_id: str) -> int:
        upload, original = self.layout.upload(post_id), self.layout.original(post_id)
        with disk_errors():
            ensure_folder(upload.parent)
            if original.exists():
                return os.open(original, os.O_RDWR)
            descriptor = os.open(upload, os.O_RDWR | os.O_CREAT, 0o600)
        if original.exists() and os.fstat(descriptor).st_size == 0:
            # It became the original between the two checks, and the opened file is a new one.
            os.close(descriptor)
            upload.unlink(missing_ok=True)
            return os.open(original, os.O_RDWR)
        return descriptor

    def _promote(self, post_id: str, sha256: bytes) -> None:
        upload, original = self.layout.upload(post_id), self.layout.original(post_id)
        if upload.exists():
            with self.locked(post_id) as descriptor:  # two requests may complete it at once
                if upload.exists() and not original.exists():
                    _verify(descriptor, sha256, self.layout.synced(post_id))
                    move_durably(upload, original)
        for mark in (self.layout.owner, self.layout.unverified, self.layout.synced):
            mark(post_id).unlink(missing_ok=True)


def trust_uploads(layout: Layout) -> None:
    """Mark all bytes of uploads without a `.synced` file as synced. A version without these marks,
    or a restore, wrote them. Call it only while nothing else uses the folder."""
    os.sync()
    for path in layout.uploads():
        synced = layout.synced(path.name)
        if not synced.exists():
            _write_synced(synced, path.stat().st_size, durably=False)


def _verify(descriptor: int, sha256: bytes, synced: Path) -> None:
    if not sha256:
        return
    with open(descriptor, "rb", closefd=False) as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    if digest != sha256:
        _write_synced(synced, 0, durably=True)
        os.ftruncate(descriptor, 0)
        raise ChecksumMismatchError


def _drop_unverified(descriptor: int, *marks: Path) -> None:
    """Drop the bytes that were never verified; the `marks` contain their first offset."""
    for mark in marks:
        started = _read(mark)
        if started:
            os.ftruncate(descriptor, int(started))
            mark.unlink(missing_ok=True)


def _verified_bytes(descriptor: int, *marks: Path) -> int:
    """Return the number of bytes before the first unverified one; drop none."""
    offsets = [int(offset) for mark in marks if (offset := _read(mark))]
    return min(offsets, default=os.fstat(descriptor).st_size)


def _drop_unsynced(descriptor: int, mark: Path) -> int:
    """Drop the bytes that a power cut may have damaged. Return the synced offset."""
    boot, _, told = _read(mark).decode(errors="replace").strip().rpartition(" ")
    synced = min(int(told) if told.isdecimal() else 0, os.fstat(descriptor).st_size)
    if boot == boot_id():
        return synced
    os.ftruncate(descriptor, synced)
    _write_synced(mark, synced, durably=False)
    return synced


def _write_synced(mark: Path, offset: int, *, durably: bool) -> None:
    """Write the synced offset over the former one in a single write: there is always one or the
    other."""
    descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, f"{boot_id()} {offset:020d}\n".encode(), 0)
        if durably:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@functools.cache
def boot_id() -> str:
    """Return the id of this boot of the machine; empty if the kernel has none."""
    return _read(_BOOT_ID).decode().strip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
