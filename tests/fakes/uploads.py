"""Resumable uploads in memory, and their records."""

import asyncio
import hashlib

import msgspec

from fakes.images import MemoryImageStore
from fakes.state import MemoryState
from image_poster.domain import errors
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.domain.posts import PostStatus
from image_poster.domain.uploads import Upload
from image_poster.ports.uploads import UploadRecord, UploadWriter


class _MemoryWriter:
    def __init__(self, store: "MemoryUploadStore", post_id: str) -> None:
        images = store.images
        self.superseded = False
        self.offset = len(images.received(post_id))
        self._store = store
        self._images = images
        self._post_id = post_id
        self._task = asyncio.current_task()

    def give_up(self) -> None:
        """Stop writing: another writer has superseded this one. Cancels its task."""
        self.superseded = True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def write(self, chunk: bytes) -> None:
        self._check()
        self._images.receive(self._post_id, self._images.received(self._post_id) + chunk)
        self.offset += len(chunk)

    async def rewind(self, offset: int) -> None:
        self._check()
        self._images.receive(self._post_id, self._images.received(self._post_id)[:offset])
        self.offset = offset

    async def commit(self) -> None:
        """Do nothing: `write` has stored the bytes."""

    async def close(self) -> None:
        self._store.release(self._post_id, self)

    def _check(self) -> None:
        if self.superseded:
            raise errors.UploadTakenOverError


class MemoryUploadStore:
    """`UploadStore` over a `MemoryImageStore`."""

    def __init__(self, images: MemoryImageStore) -> None:
        self.images = images
        self._writers: dict[str, _MemoryWriter] = {}

    async def take(
        self, post_id: str, *, unverified: bool = False, offset_hint: int | None = None
    ) -> UploadWriter:
        del (
            unverified,
            offset_hint,
        )  # nothing survives a crash here, and the bytes tell where they end
        former = self._writers.get(post_id)
        if former is not None:
            former.give_up()
        self._writers[post_id] = _MemoryWriter(self, post_id)
        return self._writers[post_id]

    async def offset(self, post_id: str, *, offset_hint: int | None = None) -> int:
        del offset_hint  # the bytes themselves tell
        writer = await self.take(post_id)
        await writer.close()
        return writer.offset

    async def received(self, post_id: str) -> int:
        return len(self.images.received(post_id))

    async def promote(self, post_id: str, sha256: bytes) -> None:
        received = self.images.received(post_id)
        if sha256 and hashlib.sha256(received).digest() != sha256:
            self.images.receive(post_id, b"")
            raise errors.ChecksumMismatchError
        self.images.promote(post_id)

    def release(self, post_id: str, writer: _MemoryWriter) -> None:
        """Remove a writer, unless another has superseded it."""
        if self._writers.get(post_id) is writer:
            del self._writers[post_id]


class MemoryUploadRecordStore:
    """`UploadRecordStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def find(self, post_id: str) -> UploadRecord | None:
        if post_id in self._state.tombstones:
            raise errors.UploadGoneError
        upload = self._state.uploads.get(post_id)
        if upload is None:
            return None
        post = self._state.post(post_id)
        return UploadRecord(post.creator, post.status is PostStatus.AWAITING_UPLOAD, upload)

    async def count_refused(self, post_id: str, size: int) -> int:
        post = self._state.posts.get(post_id)
        awaiting = post is not None and post.post.status is PostStatus.AWAITING_UPLOAD
        if post_id not in self._state.uploads or not awaiting:
            return 0
        self._state.refused_bytes[post_id] = self._state.refused_bytes.get(post_id, 0) + size
        return self._state.refused_bytes[post_id]

    async def declare_length(self, post_id: str, length: int) -> None:
        upload = self._state.uploads[post_id]
        if upload.length is None:
            self._state.uploads[post_id] = msgspec.structs.replace(upload, length=length)

    async def awaiting(self, after: str, limit: int) -> list[tuple[str, Upload]]:
        awaiting = [
            (post_id, self._state.uploads[post_id])
            for post_id, record in sorted(self._state.posts.items())
            if record.post.status is PostStatus.AWAITING_UPLOAD and post_id > after
        ]
        return awaiting[:limit]

    async def set_expiry(self, post_id: str, expires_ms: int) -> None:
        self._change(post_id, expires_ms=expires_ms)

    async def move_expiries(self, by_ms: int, *, before_ms: int) -> None:
        for post_id, upload in await self.awaiting("", len(self._state.posts)):
            if before_ms <= upload.expires_ms <= before_ms + UPLOAD_KEPT_MS:
                self._change(post_id, expires_ms=upload.expires_ms + by_ms)

    def _change(self, post_id: str, expires_ms: int) -> None:
        upload = self._state.uploads[post_id]
        self._state.uploads[post_id] = msgspec.structs.replace(upload, expires_ms=expires_ms)
