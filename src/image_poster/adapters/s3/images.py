"""Images in S3, from one object or from the pieces of an upload, and their copies in CloudFront."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.s3 import schema
from image_poster.domain.errors import BusyError, ImageNotFoundError, MultipartTooLargeError
from image_poster.domain.images import RENDITIONS, SNIFF_BYTES, sniff
from image_poster.domain.posts import image_url
from image_poster.ports.images import RemoteFile, StagedImage, Workspace

_AT_ONCE = 8
# An original is stored only after its post; twice the lifetime of an upload.
_TOO_YOUNG = timedelta(days=2)


def pieces(client: schema.S3Client, bucket: str, post_id: str) -> Iterator[bytes]:
    """Yield the pieces of an upload in order, fetched eight at a time."""
    keys = schema.list_keys(client, bucket, schema.pieces_prefix(post_id))

    def fetch(key: str) -> bytes:
        with schema.translated():
            content: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for at in range(0, len(keys), _AT_ONCE):
            yield from pool.map(fetch, keys[at : at + _AT_ONCE])


# A part of a multipart upload has 5 MiB at least, but for the last (UploadPart).
_PART_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_SIGNED_SECONDS = 300
_WITHHELD_SECONDS = 600
_PRIVATE = "private, no-cache"
_NEVER_STORED = "private, no-store"
_RENDITION_HEADERS = {
    "ContentType": "image/jpeg",
    "CacheControl": "public, max-age=31536000, immutable",
}


class _S3Staged:
    """An image from the body of its request: in memory, then stored as one piece."""

    def __init__(self, store: "S3ImageStore", post_id: str, max_bytes: int) -> None:
        self._store = store
        self._post_id = post_id
        self._max = max_bytes
        self._received = bytearray()

    async def write(self, chunk: bytes) -> None:
        if len(self._received) + len(chunk) > self._max:
            raise MultipartTooLargeError
        self._received += chunk

    async def commit(self) -> None:
        self._store.store_piece(self._post_id, bytes(self._received))

    async def discard(self) -> None:
        self._received.clear()


class S3ImageStore:
    """`ImageStore` in S3. A CDN serves the renditions; `cdn` is its address."""

    def __init__(
        self,
        client: schema.S3Client,
        buckets: schema.Buckets,
        *,
        cdn: str = "",
        max_staged: int = 4_000_000,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._buckets = buckets
        self._cdn = cdn
        self._max_staged = max_staged
        self._now = now

    def stage(self, post_id: str) -> StagedImage:
        return _S3Staged(self, post_id, self._max_staged)

    def store_piece(self, post_id: str, content: bytes) -> None:
        """Store the whole image as its only piece."""
        self._put_upload(schema.piece_key(post_id, 0), content)

    def _put_upload(self, key: str, content: bytes) -> None:
        with schema.translated():
            self._client.put_object(Bucket=self._buckets.uploads, Key=key, Body=content)

    @asynccontextmanager
    async def workspace(self, post_id: str) -> AsyncIterator[Workspace]:
        with tempfile.TemporaryDirectory(prefix="image-poster-") as folder:
            work = Workspace(Path(folder, "original"), Path(folder))
            self._obtain_original(post_id, work.original)
            yield work

    async def publish(self, post_id: str, work: Workspace, *, withheld: bool = False) -> tuple[()]:
        target, other = self._withheld, self._public
        if not withheld:
            target, other = other, target
        for name in RENDITIONS:
            content = (work.folder / f"{name}.jpg").read_bytes()
            with schema.translated():
                self._client.put_object(**target(post_id, name), Body=content, **_RENDITION_HEADERS)
        # An attempt before this one may have published them there.
        self._delete([other(post_id, name) for name in RENDITIONS])
        return ()

    async def withhold(self, post_id: str) -> None:
        for name in RENDITIONS:
            self._move(self._public(post_id, name), self._withheld(post_id, name))

    async def expose(self, post_id: str) -> None:
        for name in RENDITIONS:
            self._move(self._withheld(post_id, name), self._public(post_id, name))

    def _move(self, source: schema.Place, target: schema.Place) -> None:
        """Move an object with its headers; a missing one is no error."""
        with suppress(ImageNotFoundError):
            with schema.translated():
                self._client.copy_object(**target, CopySource=source)
            self._delete([source])

    def _delete(self, places: list[schema.Place]) -> None:
        """Delete objects of one bucket."""
        keys = [place["Key"] for place in places]
        schema.delete_keys(self._client, places[0]["Bucket"], keys)

    async def has_original(self, post_id: str) -> bool:
        return self._exists(self._original(post_id))

    async def has_arrived(self, post_id: str) -> bool:
        return self._exists(self._upload(schema.incoming_key(post_id)))

    def _exists(self, place: schema.Place) -> bool:
        with suppress(ImageNotFoundError), schema.translated():
            self._client.head_object(**place)
            return True
        return False

    async def start_work(self, post_id: str) -> None:
        """Start the image work of a post, at least once; all pieces of its image must be there.
        Repeating it is harmless."""
        self._put_upload(schema.complete_key(post_id), b"")

    async def list_originals(self, after: str) -> list[str]:
        """Post ids of some stored originals, in order, all greater than `after`; none at the
        end."""
        with schema.translated():
            answer = self._client.list_objects_v2(
                Bucket=self._buckets.uploads,
                Prefix=schema.ORIGINALS,
                StartAfter=schema.original_key(after),
            )
        return [schema.post_id_of(entry["Key"]) for entry in answer.get("Contents", [])]

    async def quarantine_original(self, post_id: str) -> bool:
        """Move the original to quarantine for some weeks; nobody sees it there. False if it is too
        young to be judged: its post may not be stored yet."""
        with schema.translated():
            age = self._now() - self._client.head_object(**self._original(post_id))["LastModified"]
        if age < _TOO_YOUNG:
            return False
        self._copy(schema.original_key(post_id), schema.quarantine_key(post_id))
        schema.delete_keys(self._client, self._buckets.uploads, [schema.original_key(post_id)])
        return True

    async def open_original(self, post_id: str) -> RemoteFile:
        if not await self.has_original(post_id):
            raise ImageNotFoundError
        return self._signed(self._original(post_id), _SIGNED_SECONDS, _PRIVATE)

    def _signed(self, place: schema.Place, seconds: int, cache_control: str) -> RemoteFile:
        """An object that any client can read for so many seconds."""
        url = self._client.generate_presigned_url(
            "get_object",
            Params={**place, "ResponseCacheControl": cache_control},
            ExpiresIn=seconds,
        )
        return RemoteFile(url)

    async def open_rendition(self, post_id: str, rendition: str) -> RemoteFile:
        return RemoteFile(f"{self._cdn}/{schema.rendition_key(post_id, rendition)}")

    async def open_withheld(self, post_id: str, rendition: str) -> RemoteFile:
        for place in (self._withheld(post_id, rendition), self._public(post_id, rendition)):
            if self._exists(place):
                return self._signed(place, _WITHHELD_SECONDS, _NEVER_STORED)
        raise ImageNotFoundError

    def review_url(self, post_id: str, rendition: str) -> str:
        """The URL of a withheld rendition for the review hook, valid for ten minutes. It is not
        checked to be there."""
        place = self._withheld(post_id, rendition)
        return self._signed(place, _WITHHELD_SECONDS, _NEVER_STORED).url

    async def remove(self, post_id: str) -> None:
        self._delete([self._public(post_id, name) for name in RENDITIONS])
        uploads = self._buckets.uploads
        staged = schema.list_keys(self._client, uploads, schema.pieces_prefix(post_id))
        prefixes = (schema.INCOMING, schema.ORIGINALS, schema.QUARANTINE, schema.COMPLETE)
        others = [f"{prefix}{post_id}" for prefix in prefixes]
        withheld = [schema.withheld_key(post_id, name) for name in RENDITIONS]
        schema.delete_keys(self._client, uploads, [*others, *withheld, *staged])

    def _original(self, post_id: str) -> schema.Place:
        return self._upload(schema.original_key(post_id))

    def _withheld(self, post_id: str, rendition: str) -> schema.Place:
        return self._upload(schema.withheld_key(post_id, rendition))

    def _upload(self, key: str) -> schema.Place:
        return {"Bucket": self._buckets.uploads, "Key": key}

    def _public(self, post_id: str, rendition: str) -> schema.Place:
        return {"Bucket": self._buckets.images, "Key": schema.rendition_key(post_id, rendition)}

    def _obtain_original(self, post_id: str, target: Path) -> None:
        """Write the original to `target`. If there is none yet, make it from the incoming image or
        the pieces. Raises `ImageNotFoundError`."""
        for take in (self._fetch_original, self._take_incoming, self._join_pieces):
            with suppress(ImageNotFoundError):
                take(post_id, target)
                return
        raise ImageNotFoundError

    def _take_incoming(self, post_id: str, target: Path) -> None:
        """Make the incoming image the original, unless there is one by now."""
        with suppress(schema.PieceExistsError):
            self._copy(schema.incoming_key(post_id), schema.original_key(post_id), IfNoneMatch="*")
        self._fetch_original(post_id, target)

    def _copy(self, source: str, target: str, **condition: str) -> None:
        """Copy an object of at most 5 GB within S3 (CopyObject). With `IfNoneMatch`: "only if the
        object key name at the destination does not already exist"."""
        bucket = self._buckets.uploads
        with schema.translated():
            self._client.copy_object(
                Bucket=bucket, Key=target, CopySource={"Bucket": bucket, "Key": source}, **condition
            )

    def _fetch_original(self, post_id: str, target: Path) -> None:
        with schema.translated():
            answer = self._client.get_object(**self._original(post_id))
            with target.open("wb") as file:
                for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                    file.write(chunk)

    def _join_pieces(self, post_id: str, target: Path) -> None:
        """Make the original from its pieces, then delete them. Raises `ImageNotFoundError`."""
        with target.open("wb") as file:
            for piece in pieces(self._client, self._buckets.uploads, post_id):
                file.write(piece)
        if not target.stat().st_size:
            raise ImageNotFoundError
        self._store_original(post_id, target)
        staged = schema.list_keys(
            self._client, self._buckets.uploads, schema.pieces_prefix(post_id)
        )
        schema.delete_keys(
            self._client, self._buckets.uploads, [*staged, schema.complete_key(post_id)]
        )

    def _store_original(self, post_id: str, source: Path) -> None:
        """Store the original by a multipart upload, which reads 16 MiB at a time into memory."""
        place = self._original(post_id)
        with schema.translated(), source.open("rb") as file:
            media_type = sniff(file.read(SNIFF_BYTES)) or "application/octet-stream"
            file.seek(0)
            answer = self._client.create_multipart_upload(**place, ContentType=str(media_type))
            upload = {**place, "UploadId": answer["UploadId"]}
            parts = list[dict[str, object]]()
            while content := file.read(_PART_BYTES):
                number = len(parts) + 1
                part = self._client.upload_part(**upload, PartNumber=number, Body=content)
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


class CloudFrontImageCache:
    """The content delivery network (CDN) in front of the renditions: one distribution.

    https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/Invalidation.html
    """

    def __init__(self, client: Any, distribution_id: str) -> None:  # noqa: ANN401 - botocore makes clients at run time
        self._client = client
        self._distribution_id = distribution_id

    async def forget(self, post_id: str, reference: str) -> None:
        """Invalidate all copies of the post's renditions, soon. A call with the same `reference`
        makes no other invalidation (CreateInvalidation, CallerReference). Raises `BusyError`."""
        # Literal paths: 3,000 of them may be in progress, but only 15 with a wildcard ("Concurrent
        # invalidation requests"). Each path beyond 1,000 a month is billed.
        paths = [image_url(post_id, rendition) for rendition in RENDITIONS]
        batch = {
            "Paths": {"Quantity": len(paths), "Items": paths},
            "CallerReference": reference,
        }
        try:
            self._client.create_invalidation(
                DistributionId=self._distribution_id, InvalidationBatch=batch
            )
        except (ClientError, BotoCoreError) as exc:
            raise BusyError from exc
