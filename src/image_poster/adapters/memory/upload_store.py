"""Resumable uploads in memory, beside the pictures they become."""

import asyncio
import hashlib

from image_poster.adapters.memory.picture_store import MemoryPictureStore
from image_poster.ports.upload_store import UploadWriter
from image_poster.tus.errors import ChecksumMismatchError, UploadTakenOverError


class _MemoryWriter:
    def __init__(self, store: "MemoryUploadStore", post_id: str) -> None:
        pictures = store.pictures
        self.taken = False
        self.offset = len(pictures.received(post_id))
        self._store = store
        self._pictures = pictures
        self._post_id = post_id
        self._task = asyncio.current_task()

    def give_up(self) -> None:
        """Somebody else has it now."""
        self.taken = True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def write(self, chunk: bytes) -> None:
        self._check()
        self._pictures.receive(self._post_id, self._pictures.received(self._post_id) + chunk)
        self.offset += len(chunk)

    async def rewind(self, offset: int) -> None:
        self._check()
        self._pictures.receive(self._post_id, self._pictures.received(self._post_id)[:offset])
        self.offset = offset

    async def commit(self) -> None:
        """What was written is kept already."""

    async def close(self) -> None:
        self._store.let_go(self._post_id, self)

    def _check(self) -> None:
        if self.taken:
            raise UploadTakenOverError


class MemoryUploadStore:
    """`UploadStore` over a `MemoryPictureStore`."""

    def __init__(self, pictures: MemoryPictureStore) -> None:
        self.pictures = pictures
        self._writers: dict[str, _MemoryWriter] = {}

    async def take(
        self, post_id: str, *, unverified: bool = False, known: int | None = None
    ) -> UploadWriter:
        del unverified, known  # nothing survives a crash here, and the bytes tell where they end
        former = self._writers.get(post_id)
        if former is not None:
            former.give_up()
        self._writers[post_id] = _MemoryWriter(self, post_id)
        return self._writers[post_id]

    async def offset(self, post_id: str, *, known: int | None = None) -> int:
        del known  # the bytes themselves tell
        writer = await self.take(post_id)
        await writer.close()
        return writer.offset

    async def promote(self, post_id: str, sha256: bytes) -> None:
        received = self.pictures.received(post_id)
        if sha256 and hashlib.sha256(received).digest() != sha256:
            self.pictures.receive(post_id, b"")
            raise ChecksumMismatchError
        self.pictures.promote(post_id)

    def let_go(self, post_id: str, writer: _MemoryWriter) -> None:
        """Forget a writer, unless another took its place."""
        if self._writers.get(post_id) is writer:
            del self._writers[post_id]
