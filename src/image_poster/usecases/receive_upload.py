"""Receive the bytes of a resumable upload, piece by piece."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from image_poster.domain.errors import (
    ChecksumMismatchError,
    InvalidRequestError,
    UnsupportedImageError,
    UploadGoneError,
    UploadNotFoundError,
    UploadTakenOverError,
    UploadTooLargeError,
)
from image_poster.domain.identity import Identity
from image_poster.domain.images import SNIFF_BYTES, sniff
from image_poster.domain.limits import Limits
from image_poster.ports.clock import Clock
from image_poster.ports.uploads import UploadRecord, UploadRecordStore, UploadStore, UploadWriter
from image_poster.tus.decisions import Upload, is_complete, length_to_declare, repeats_the_end, room
from image_poster.tus.headers import Checksum
from image_poster.usecases.complete_upload import CompleteUpload


class Patch(NamedTuple):
    """One piece's terms: where it goes (None: it is the whole), how long its body says it is, the
    upload's whole length if it is said now, and the checksum of the body."""

    offset: int | None
    declared_bytes: int | None = None
    length: int | None = None
    checksum: Checksum | None = None


class UploadState(NamedTuple):
    """Where an upload is."""

    upload: Upload
    offset: int


@dataclass(frozen=True)
class ReceiveUpload:
    """Bytes are kept as they come, so a cut loses none; the newest request for an upload ends any
    older one."""

    ledger: UploadRecordStore
    uploads: UploadStore
    complete_upload: CompleteUpload
    clock: Clock
    limits: Limits

    async def state(self, post_id: str, who: Identity) -> UploadState:
        """Where the upload is; asking takes it over from a request that may be half-open.

        If all is there, it is completed here: the request that brought the last byte may have been
        ended just before it could.
        """
        entry = await self._find(post_id, who)
        if not entry.awaiting:
            return _finished(entry.upload)
        offset = await self.uploads.offset(post_id, known=entry.offset)
        return await self._completed(post_id, UploadState(entry.upload, offset))

    async def append(
        self, post_id: str, who: Identity, patch: Patch, chunks: AsyncIterator[bytes]
    ) -> UploadState:
        """Append a piece, and complete the upload if it was the last."""
        entry = await self._find(post_id, who)
        if not entry.awaiting:
            finished = _finished(entry.upload)
            self._room_for(patch, *finished)
            return finished
        return await self._receive(post_id, entry, patch, chunks)

    async def put(
        self, post_id: str, declared_bytes: int | None, chunks: AsyncIterator[bytes]
    ) -> None:
        """Take the whole in one go, from whoever has its signed URL; repeating it is a no-op.

        What came before a cut is kept here too, and can be continued.
        """
        entry = await self._find(post_id, None)
        if not entry.awaiting:
            return
        if declared_bytes is not None and declared_bytes < (entry.upload.length or 0):
            raise _too_short(entry.upload)
        state = await self._receive(post_id, entry, Patch(None, declared_bytes), chunks)
        if not is_complete(*state):
            raise _too_short(entry.upload)

    async def _receive(
        self, post_id: str, entry: UploadRecord, patch: Patch, chunks: AsyncIterator[bytes]
    ) -> UploadState:
        writer = await self.uploads.take(
            post_id, unverified=patch.checksum is not None, known=entry.offset
        )
        try:
            if patch.offset is None and not is_complete(entry.upload, writer.offset):
                await writer.rewind(0)
            upload = await self._with_length(post_id, entry.upload, patch, writer.offset)
            left = self._room_for(patch, upload, writer.offset)
            if left is not None:
                await _receive(writer, chunks, left, patch.checksum)
                await writer.commit()
        except asyncio.CancelledError as exc:
            raise _reason(writer, exc) from exc
        finally:
            await writer.close()
        return await self._completed(post_id, UploadState(upload, writer.offset))

    async def _completed(self, post_id: str, state: UploadState) -> UploadState:
        if is_complete(*state):
            await self.complete_upload(post_id, state.upload)
        return state

    def _room_for(self, patch: Patch, upload: Upload, at: int) -> int | None:
        """How many bytes may be taken; None if all are there, and these are the last of them, or
        the whole, once more, to be left unread."""
        if patch.offset is None and is_complete(upload, at):
            return None
        if repeats_the_end(upload, at, patch.offset, patch.declared_bytes):
            return None
        asked = at if patch.offset is None else patch.offset
        return room(upload, at, asked, patch.declared_bytes, self.limits.image_bytes)

    async def _find(self, post_id: str, who: Identity | None) -> UploadRecord:
        """What is known of the upload, for its creator, or (None) for whoever has proved a right to
        it."""
        entry = await self.ledger.find(post_id)
        if entry is None or (who is not None and who.user != entry.creator):
            raise UploadNotFoundError
        if entry.awaiting and entry.upload.expires_ms <= self.clock.now_ms():
            raise UploadGoneError
        return entry

    async def _with_length(self, post_id: str, upload: Upload, patch: Patch, offset: int) -> Upload:
        length = length_to_declare(upload, patch.length, offset, self.limits.image_bytes)
        if length is None:
            return upload
        await self.ledger.declare_length(post_id, length)
        return msgspec.structs.replace(upload, length=length)


def _finished(upload: Upload) -> UploadState:
    return UploadState(upload, upload.length or 0)


def _too_short(upload: Upload) -> Exception:
    return InvalidRequestError(f"Send the whole picture: {upload.length} bytes were announced.")


def _reason(writer: UploadWriter, cancelled: asyncio.CancelledError) -> BaseException:
    """Why this request ends: it was taken over, or the whole service stops."""
    task = asyncio.current_task()
    if not writer.taken or task is None:
        return cancelled
    task.uncancel()
    return UploadTakenOverError()


async def _receive(
    writer: UploadWriter, chunks: AsyncIterator[bytes], left: int, checksum: Checksum | None
) -> None:
    start = writer.offset
    try:
        await _write(writer, chunks, left, checksum)
    except BaseException:
        if checksum is not None and not writer.taken:
            await writer.rewind(start)  # what cannot be verified is not kept
        raise


async def _write(
    writer: UploadWriter, chunks: AsyncIterator[bytes], left: int, checksum: Checksum | None
) -> None:
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
    async for chunk in chunks:
        if len(chunk) > left:
            raise UploadTooLargeError
        if writer.offset == 0 and len(chunk) >= min(SNIFF_BYTES, left) and sniff(chunk) is None:
            raise UnsupportedImageError
        if digest is not None:
            digest.update(chunk)
        await writer.write(chunk)
        left -= len(chunk)
    if digest is not None and checksum is not None and digest.digest() != checksum.digest:
        raise ChecksumMismatchError
