"""Bodies of images: verified, written, and counted in their senders' quotas.

Discarded bytes count in the sender's bytes of the day. Too many of them end an upload; otherwise a
client could send without end.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from image_poster import tus
from image_poster.domain import errors
from image_poster.domain.identity import Identity
from image_poster.domain.images import SNIFF_BYTES, sniff
from image_poster.domain.limits import Limits
from image_poster.domain.uploads import Upload
from image_poster.ports import RateLimiter
from image_poster.ports.uploads import UploadQuota, UploadRecordStore, UploadWriter
from image_poster.services.posts import PostService

_ENDED = "This upload was deleted, because it received too many refused bytes. Create a new one."
# A bad network must not end an upload, and no client may send without end.
_LOST_BYTES_PER_REFUSED = 10


class Terms(NamedTuple):
    """The upload, and the most bytes that a body may add to it."""

    upload: Upload
    bytes_allowed: int


@dataclass
class CountedBody:
    """A body that counts its bytes. `replaced_bytes` are those of earlier requests, which were cut,
    that this body replaces."""

    chunks: AsyncIterator[bytes]
    received_bytes: int = 0
    replaced_bytes: int = 0
    stored_bytes: int = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self.chunks:
            self.received_bytes += len(chunk)
            yield chunk

    @property
    def dropped_bytes(self) -> int:
        """The number of discarded bytes."""
        return max(0, self.received_bytes + self.replaced_bytes - self.stored_bytes)


class Unlimited:
    """A `RateLimiter` and `UploadQuota` without limits."""

    async def count(self, caller: str) -> None:
        pass

    def reserve(self, user: str, size: int) -> AbstractAsyncContextManager[None]:
        del user, size
        return nullcontext()

    async def charge(self, user: str, size: int) -> None:
        pass


UNLIMITED = Unlimited()


@dataclass(frozen=True)
class UserLimits:
    """Enforces users' rate limits and quotas. `image_bytes` is the size assumed for an image of
    unknown size."""

    writes: RateLimiter
    upload_quota: UploadQuota
    image_bytes: int

    async def count_write(self, user: Identity) -> None:
        """Count one write. Raises `RateLimitedError`."""
        await self.writes.count(user.user)

    @asynccontextmanager
    async def receiving(
        self, user: Identity, declared_bytes: int | None, body: CountedBody
    ) -> AsyncIterator[None]:
        """Reserve an image's bytes while it is received within one request, then count the
        discarded bytes of `body`. `declared_bytes` is its declared size. Raises `RateLimitedError`
        before any byte is read."""
        size = self.image_bytes if declared_bytes is None else declared_bytes
        async with self.upload_quota.reserve(user.user, min(size, self.image_bytes)):
            try:
                yield
            finally:
                await self.upload_quota.charge(user.user, body.dropped_bytes)


async def write_verified(
    writer: UploadWriter, body: CountedBody, terms: Terms, checksum: tus.Checksum | None
) -> None:
    """Write a body. With a checksum, write all of it or nothing, since a part cannot be
    verified."""
    start = writer.offset
    try:
        await _write(writer, body, terms, checksum)
    except BaseException:
        if checksum is not None and not writer.superseded:
            await writer.rewind(start)
        raise


async def _write(
    writer: UploadWriter, body: CountedBody, terms: Terms, checksum: tus.Checksum | None
) -> None:
    upload, allowed = terms
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
    async for chunk in body:
        tus.check_fits(upload, allowed, len(chunk))
        if writer.offset == 0 and len(chunk) >= min(SNIFF_BYTES, allowed) and sniff(chunk) is None:
            raise errors.UnsupportedImageError
        if digest is not None:
            digest.update(chunk)
        await writer.write(chunk)
        allowed -= len(chunk)
    if digest is not None and checksum is not None and digest.digest() != checksum.digest:
        raise errors.ChecksumMismatchError


@dataclass(frozen=True)
class RefusedBytes:
    """Counts the discarded bytes of uploads."""

    records: UploadRecordStore
    upload_quota: UploadQuota
    posts: PostService
    limits: Limits

    async def count(self, post_id: str, creator: str, size: int, *, lost_bytes: int = 0) -> None:
        """Count `size` refused bytes, and `lost_bytes` that a cut or a newer request lost.

        Raises `UploadGoneError` if more bytes were refused than an image may have: the upload is
        aborted. A tenth of the lost bytes counts as refused.
        """
        if size + lost_bytes == 0:
            return
        await self.upload_quota.charge(creator, size + lost_bytes)
        refused = size + lost_bytes // _LOST_BYTES_PER_REFUSED
        if await self.records.count_refused(post_id, refused) > self.limits.image_bytes:
            await self.posts.delete(post_id, Identity(creator), ended=True)
            raise errors.UploadGoneError(_ENDED)

    async def count_body(
        self, post_id: str, creator: str, body: CountedBody, error: Exception | None = None
    ) -> None:
        """Count the discarded bytes of a body; `error` ended it. Raises as `count`."""
        dropped = body.dropped_bytes
        lost = min(dropped, body.replaced_bytes) if _is_refusal(error) else dropped
        await self.count(post_id, creator, dropped - lost, lost_bytes=lost)

    async def count_unread(self, post_id: str, user: str | None, size: int) -> None:
        """Count a body that was read only so that its client sees the answer. `user` sent it; None
        is a client with the upload's signed URL."""
        record = None
        with suppress(errors.UploadGoneError):
            record = await self.records.find(post_id)
        if record is not None and user in (None, record.creator):
            with suppress(errors.UploadGoneError):
                await self.count(post_id, record.creator, size)
        elif user is not None:
            await self.upload_quota.charge(user, size)


def _is_refusal(error: Exception | None) -> bool:
    """Return False if a cut, a newer request or the service's own failure ended the body."""
    if isinstance(error, (errors.BodySilentError, errors.UploadTakenOverError)):
        return False
    return (
        isinstance(error, errors.ImagePosterError)
        and error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    )
