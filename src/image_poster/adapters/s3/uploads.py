"""Resumable uploads in S3: an object a piece, and a number that says how far it goes.

There is no lock: the piece is kept only if none begins there (`If-None-Match: *`), and the offset
moves only from where the piece began. Whoever comes second finds the first one's piece, and if its
bytes are the same, has nothing to add. What a crash left between the two is adopted in that way.
"""

import hashlib
from base64 import b64encode
from typing import Any

from image_poster.adapters.s3 import schema
from image_poster.adapters.s3.images import pieces
from image_poster.domain import errors
from image_poster.domain.ids import rfc3339
from image_poster.domain.uploads import PutTarget, PutTerms
from image_poster.ports.clock import Clock
from image_poster.ports.uploads import UploadOffsets, UploadWriter

_DIGEST = "sha256"


class _S3Writer:
    """Keeps a piece in memory until it is committed: a Lambda is given it whole."""

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
            raise errors.UploadTakenOverError  # what is kept is kept
        self._piece.clear()
        self.offset = offset

    async def commit(self) -> None:
        if self._piece:
            await self._store.keep(self._post_id, self._start, bytes(self._piece))
            self._piece.clear()

    async def close(self) -> None:
        if self._piece:  # it is not kept
            self.offset = self._start


class S3UploadStore:
    """`UploadStore` in S3. A piece has at most `piece_bytes`; one that is not committed is not
    kept."""

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
        del unverified  # nothing is kept before `commit`
        return _S3Writer(self, post_id, await self.offset(post_id, offset_hint=offset_hint))

    async def offset(self, post_id: str, *, offset_hint: int | None = None) -> int:
        return await self._offsets.find(post_id) if offset_hint is None else offset_hint

    async def promote(self, post_id: str, sha256: bytes) -> None:
        """The pieces stay as they are, for the image work to put together; they are read here only
        if a digest was announced."""
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

    async def keep(self, post_id: str, start: int, piece: bytes) -> None:
        """Keep a piece that begins at `start`. Raises `OffsetMismatchError` when another one does,
        and `UploadTakenOverError` when the upload is somewhere else, or over."""
        digest = hashlib.sha256(piece).hexdigest()
        size, kept = self._place(post_id, start, piece, digest)
        moved = await self._offsets.advance(post_id, start, start + size)
        if kept != digest:
            raise errors.OffsetMismatchError
        if not moved and await self._offsets.find(post_id) < start + size:
            raise errors.UploadTakenOverError

    def _place(self, post_id: str, start: int, piece: bytes, digest: str) -> tuple[int, str]:
        """Size and digest of the piece that is kept at `start`: this one, or the one before it."""
        place = {"Bucket": self._bucket, "Key": schema.piece_key(post_id, start)}
        try:
            with schema.translated():
                self._client.put_object(
                    **place, Body=piece, IfNoneMatch="*", Metadata={_DIGEST: digest}
                )
        except schema.PieceExistsError:
            with schema.translated():
                found = self._client.head_object(**place)
            return int(found["ContentLength"]), found["Metadata"].get(_DIGEST, "")
        return len(piece), digest


# A URL is good for no longer than the credentials it was signed with; those of a Lambda last some
# hours.
_LONGEST_MS = 3600 * 1000


class S3PutUrlSigner:
    """`PutUrlSigner` for the bucket of uploads. Signing asks nobody."""

    def __init__(self, client: schema.S3Client, bucket: str, clock: Clock) -> None:
        self._client = client
        self._bucket = bucket
        self._clock = clock

    def sign(self, post_id: str, terms: PutTerms, expires_ms: int) -> PutTarget:
        now = self._clock.now_ms()
        until_ms = min(expires_ms, now + _LONGEST_MS)
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
