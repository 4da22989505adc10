"""Resumable uploads in S3: one object a piece, and the upload's offset.

There is no lock. A piece is stored only if no piece begins at its offset (`If-None-Match: *`). The
offset advances only from the start of the piece. A second writer finds the first writer's piece and
advances the offset past it, so a retry after a crash completes that piece.
"""

import hashlib
from base64 import b64encode
from typing import Any, Protocol

from image_poster.adapters.s3 import schema
from image_poster.adapters.s3.images import pieces
from image_poster.domain import errors
from image_poster.domain.ids import rfc3339
from image_poster.domain.uploads import PutTarget, PutTerms
from image_poster.ports import Clock
from image_poster.ports.uploads import UploadWriter

_DIGEST = "sha256"


class UploadOffsets(Protocol):
    """The offsets of uploads, which the pieces do not tell: one number an upload, advanced by each
    request that appends."""

    async def find_offset(self, post_id: str) -> int:
        """The offset in bytes; 0 for an unknown upload. Sees every `advance` that returned."""
        ...

    async def advance(self, post_id: str, start: int, end: int) -> bool:
        """Move from `start` to `end`. False, with nothing changed, if the upload is not at `start`
        or awaits no bytes any more."""
        ...


class _S3Writer:
    """Buffers a piece in memory until it is committed: a Lambda gets the whole body at once."""

    def __init__(self, store: "S3UploadStore", post_id: str, start: int) -> None:
        self.superseded = False
        self.offset = start
        self._store = store
        self._post_id = post_id
        self._start = start
        self._piece = bytearray()

    async def write(self, chunk: bytes) -> None:
        if len(self._piece) + len(chunk) > self._store.piece_bytes:
            raise errors.PieceTooLargeError
        self._piece += chunk
        self.offset += len(chunk)

    async def rewind(self, offset: int) -> None:
        if offset != self._start:
            raise errors.UploadTakenOverError  # stored pieces stay
        self._piece.clear()
        self.offset = offset

    async def commit(self) -> None:
        if self._piece:
            await self._store.store_piece(self._post_id, self._start, bytes(self._piece))
            self._piece.clear()

    async def close(self) -> None:
        if self._piece:  # it is not stored
            self.offset = self._start


class S3UploadStore:
    """`UploadStore` in S3. A piece has at most `piece_bytes` bytes. A piece that is not committed
    is lost."""

    def __init__(
        self, client: schema.S3Client, bucket: str, offsets: UploadOffsets, *, piece_bytes: int
    ) -> None:
        self.piece_bytes = piece_bytes
        self._client = client
        self._bucket = bucket
        self._offsets = offsets

    async def take(
        self, post_id: str, *, unverified: bool = False, offset_hint: int | None = None
    ) -> UploadWriter:
        del unverified  # nothing is stored before `commit`
        return _S3Writer(self, post_id, await self.offset(post_id, offset_hint=offset_hint))

    async def offset(self, post_id: str, *, offset_hint: int | None = None) -> int:
        return await self._offsets.find_offset(post_id) if offset_hint is None else offset_hint

    async def promote(self, post_id: str, sha256: bytes) -> None:
        """Check the pieces against `sha256`, if there is one; the image work joins them later.
        Raises `ChecksumMismatchError` after deleting the pieces."""
        if not sha256:
            return
        digest, end = hashlib.sha256(), 0
        for piece in pieces(self._client, self._bucket, post_id):
            digest.update(piece)
            end += len(piece)
        if end and digest.digest() != sha256:
            staged = schema.list_keys(self._client, self._bucket, schema.pieces_prefix(post_id))
            await self._offsets.advance(post_id, end, 0)
            schema.delete_keys(self._client, self._bucket, staged)
            raise errors.ChecksumMismatchError

    async def store_piece(self, post_id: str, start: int, piece: bytes) -> None:
        """Store a piece that begins at byte `start`. Raises `OffsetMismatchError` if another piece
        begins there. Raises `UploadTakenOverError` if the offset is elsewhere or the upload has
        ended."""
        digest = hashlib.sha256(piece).hexdigest()
        size, stored_digest = self._put_piece(post_id, start, piece, digest)
        moved = await self._offsets.advance(post_id, start, start + size)
        if stored_digest != digest:
            raise errors.OffsetMismatchError
        if not moved and await self._offsets.find_offset(post_id) < start + size:
            raise errors.UploadTakenOverError

    def _put_piece(self, post_id: str, start: int, piece: bytes, digest: str) -> tuple[int, str]:
        """Store a piece unless one begins at `start`. Returns size and digest of the stored one."""
        place = {"Bucket": self._bucket, "Key": schema.piece_key(post_id, start)}
        try:
            with schema.translated():
                self._client.put_object(
                    **place, Body=piece, IfNoneMatch="*", Metadata={_DIGEST: digest}
                )
        except schema.PieceExistsError:
            with schema.translated():
                stored = self._client.head_object(**place)
            return int(stored["ContentLength"]), stored["Metadata"].get(_DIGEST, "")
        return len(piece), digest


# A URL is valid no longer than the credentials that signed it; those of a Lambda last some hours.
_MAX_VALID_MS = 3600 * 1000


class S3PutUrlSigner:
    """`PutUrlSigner` for the bucket of uploads. Signing sends no request."""

    def __init__(self, client: schema.S3Client, bucket: str, clock: Clock) -> None:
        self._client = client
        self._bucket = bucket
        self._clock = clock

    def sign(self, post_id: str, terms: PutTerms, expires_ms: int) -> PutTarget:
        now = self._clock.now_ms()
        until_ms = min(expires_ms, now + _MAX_VALID_MS)
        headers = {"content-type": terms.content_type}
        params: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": schema.incoming_key(post_id),
            "ContentType": terms.content_type,
            "ContentLength": terms.size,
        }
        if terms.sha256:
            params["ChecksumSHA256"] = b64encode(terms.sha256).decode()
            headers["x-amz-checksum-sha256"] = params["ChecksumSHA256"]
        url = self._client.generate_presigned_url(
            "put_object", Params=params, ExpiresIn=(until_ms - now) // 1000
        )
        return PutTarget(url=url, headers=headers, expires_at=rfc3339(until_ms))
