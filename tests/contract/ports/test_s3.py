"""The S3 adapters keep the ports' contracts, on the emulator. What they do otherwise (pieces, not
one file; no lock but conditions) is tested here, uploads also on S3 in memory."""

import hashlib
import secrets
from typing import Any

import httpx
import pytest

from aws_local.emulator import REGION, Emulator
from contract.ports import suite, withholding
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore
from image_poster.adapters.s3.images import S3ImageStore, pieces
from image_poster.adapters.s3.schema import Buckets, incoming_key, original_key, pieces_prefix
from image_poster.adapters.s3.uploads import S3PutUrlSigner, S3UploadStore
from image_poster.domain.errors import (
    ChecksumMismatchError,
    ImageNotFoundError,
    MultipartTooLargeError,
    OffsetMismatchError,
    PieceTooLargeError,
    UploadTakenOverError,
)
from image_poster.domain.ids import new_id
from image_poster.domain.posts import uploaded_post
from image_poster.domain.uploads import PutTerms
from image_poster.ports.images import ImageStore
from support.dynamodb import CrashError, FakeTable
from support.s3 import FakeS3

pytestmark = pytest.mark.anyio


@pytest.fixture
def buckets(emulator: Emulator) -> Buckets:
    names = [f"{kind}-{secrets.token_hex(6)}" for kind in ("uploads", "images")]
    for name in names:
        emulator.client("s3").create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
    return Buckets(*names)


@pytest.fixture
def images(emulator: Emulator, buckets: Buckets) -> S3ImageStore:
    cdn = f"{emulator.url}/{buckets.images}"
    return S3ImageStore(emulator.client("s3"), buckets, cdn=cdn, max_staged=5_000_000)


class ReaderOfUrls(suite.Reader):
    """Files are where their URLs lead; an original is put together by the image work."""

    async def original(self, images: ImageStore, post_id: str) -> bytes:
        async with images.workspace(post_id):
            pass
        return await super().original(images, post_id)

    async def content(self, file: Any) -> bytes:
        answer = httpx.get(file.url)
        if answer.is_error:
            raise ImageNotFoundError
        return answer.content


class TestImageStore(withholding.WithheldRenditionsSuite):
    @pytest.fixture
    def reader(self) -> suite.Reader:
        return ReaderOfUrls()

    async def is_public(self, images: Any, post_id: str, name: str) -> bool:
        place = {"Bucket": images._buckets.images, "Key": f"images/{post_id}/{name}.jpg"}
        return bool(images._exists(place))


async def test_a_signed_url_of_a_withheld_rendition_ends_and_is_never_stored(
    images: S3ImageStore,
) -> None:
    """The object itself says that it may be cached for a year: it was public."""
    post_id = await TestImageStore().published(images)
    await images.withhold(post_id)
    url = httpx.URL((await images.open_withheld(post_id, "600")).url)
    assert url.params["X-Amz-Expires"] == "600"
    answer = httpx.get(url)
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-type"] == "image/jpeg"


async def test_a_rendition_is_exposed_with_the_headers_of_a_published_one(
    images: S3ImageStore,
) -> None:
    post_id = await TestImageStore().published(images)
    await images.withhold(post_id)
    await images.expose(post_id)
    place = {"Bucket": images._buckets.images, "Key": f"images/{post_id}/600.jpg"}
    head = images._client.head_object(**place)
    assert head["CacheControl"] == "public, max-age=31536000, immutable"
    assert head["ContentType"] == "image/jpeg"


async def test_pieces_become_one_original_and_go(images: S3ImageStore, buckets: Buckets) -> None:
    """In the order of their offsets, which is not that of their making."""
    client, post_id = images._client, new_id()
    for offset, piece in ((10, b"b" * 11), (0, b"a" * 10), (21, b"c")):
        key = f"{pieces_prefix(post_id)}{offset:012d}"
        client.put_object(Bucket=buckets.uploads, Key=key, Body=piece)
    assert not await images.has_original(post_id)
    async with images.workspace(post_id) as work:
        assert work.original.read_bytes() == b"a" * 10 + b"b" * 11 + b"c"
    assert await images.has_original(post_id)
    listed = client.list_objects_v2(Bucket=buckets.uploads, Prefix="staging/")
    assert "Contents" not in listed
    async with images.workspace(post_id) as again:
        assert len(again.original.read_bytes()) == 22


async def test_an_original_of_many_megabytes_comes_back(images: S3ImageStore) -> None:
    """More than a part of a multipart upload has."""
    post_id, content = new_id(), secrets.token_bytes(20_000_000)
    for offset in range(0, len(content), 4_000_000):
        key = f"{pieces_prefix(post_id)}{offset:012d}"
        place = {"Bucket": images._buckets.uploads, "Key": key}
        images._client.put_object(**place, Body=content[offset : offset + 4_000_000])
    assert await ReaderOfUrls().original(images, post_id) == content


async def test_what_a_lambda_cannot_be_given_is_refused(images: S3ImageStore) -> None:
    staged = images.stage(new_id())
    await staged.write(bytes(5_000_000))
    with pytest.raises(MultipartTooLargeError):
        await staged.write(b"x")


async def test_beginning_image_work_makes_a_mark(
    emulator: Emulator, buckets: Buckets, images: S3ImageStore
) -> None:
    post_id = new_id()
    for _ in range(2):
        await images.start_work(post_id)
    emulator.client("s3").head_object(Bucket=buckets.uploads, Key=f"complete/{post_id}")


# Signed PUTs


def signed(emulator: Emulator, bucket: str, content: bytes) -> tuple[str, Any]:
    clock, post_id = ManualClock(1_800_000_000_000), new_id()
    terms = PutTerms("image/png", len(content), hashlib.sha256(content).digest())
    urls = S3PutUrlSigner(emulator.client("s3"), bucket, clock)
    return post_id, urls.sign(post_id, terms, clock.now_ms() + 24 * 3600 * 1000)


async def test_a_signed_url_takes_the_image(
    emulator: Emulator, buckets: Buckets, images: S3ImageStore
) -> None:
    content = b"\x89PNG and so on"
    post_id, way = signed(emulator, buckets.uploads, content)
    assert way.expires_at == "2027-01-15T09:00:00.000Z"  # within a Lambda's credentials' life
    assert httpx.put(way.url, content=content, headers=way.headers).is_success
    assert await images.has_arrived(post_id)
    assert not await images.has_original(post_id)  # not before somebody took it
    assert await ReaderOfUrls().original(images, post_id) == content
    assert httpx.put(way.url, content=content, headers=way.headers).is_success  # harmless


async def test_what_is_put_after_the_original_was_taken_changes_nothing(
    emulator: Emulator, buckets: Buckets, images: S3ImageStore
) -> None:
    post_id, place = new_id(), {"Bucket": buckets.uploads}
    for content in (b"first", b"second"):
        emulator.client("s3").put_object(**place, Key=incoming_key(post_id), Body=content)
        assert await ReaderOfUrls().original(images, post_id) == b"first"


async def test_length_type_and_digest_are_part_of_the_signature(
    emulator: Emulator, buckets: Buckets
) -> None:
    _, way = signed(emulator, buckets.uploads, b"four")
    query = httpx.URL(way.url).params
    assert set(query["X-Amz-SignedHeaders"].split(";")) >= {
        "content-length",
        "content-type",
        "host",
        "x-amz-checksum-sha256",
    }
    changed = {**way.headers, "content-type": "text/html"}
    assert httpx.put(way.url, content=b"four", headers=changed).status_code == 403
    assert httpx.put(way.url, content=b"more than four", headers=way.headers).is_error


# Uploads


class Uploads:
    """One upload's pieces, in `client`, and its offset."""

    def __init__(self, client: Any, bucket: str) -> None:
        self.client, self.bucket = client, bucket
        self.table = FakeTable()
        self.posts = DynamoPostStore(self.table, ManualClock())
        offsets = DynamoUploadRecordStore(self.table)
        self.store = S3UploadStore(client, bucket, offsets, piece_bytes=100)

    async def begin(self) -> str:
        post, upload = suite.an_upload()
        await self.posts.add(post, None, upload)
        return post.id

    async def write(self, post_id: str, piece: bytes) -> None:
        writer = await self.store.take(post_id)
        await writer.write(piece)
        await writer.commit()
        await writer.close()

    def stored_bytes(self, post_id: str) -> bytes:
        return b"".join(pieces(self.client, self.bucket, post_id))


@pytest.fixture(params=["fake", "emulator"])
def uploads(request: pytest.FixtureRequest) -> Uploads:
    if request.param == "fake":
        return Uploads(FakeS3(), "bucket")
    buckets: Buckets = request.getfixturevalue("buckets")
    return Uploads(request.getfixturevalue("emulator").client("s3"), buckets.uploads)


async def test_pieces_are_counted_and_read_in_order(uploads: Uploads) -> None:
    post_id = await uploads.begin()
    assert await uploads.store.offset(post_id) == 0
    for number in range(12):
        await uploads.write(post_id, bytes([number]) * (number + 1))
    assert await uploads.store.offset(post_id) == 78
    assert uploads.stored_bytes(post_id) == b"".join(bytes([n]) * (n + 1) for n in range(12))


async def test_what_is_not_committed_is_not_kept(uploads: Uploads) -> None:
    post_id = await uploads.begin()
    writer = await uploads.store.take(post_id)
    await writer.write(b"cut")
    await writer.close()
    assert await uploads.store.offset(post_id) == 0
    assert uploads.stored_bytes(post_id) == b""


async def test_of_two_at_one_offset_the_first_stays_and_the_second_is_told(
    uploads: Uploads,
) -> None:
    post_id = await uploads.begin()
    first, other = await uploads.store.take(post_id), await uploads.store.take(post_id)
    await first.write(b"the first")
    await other.write(b"the other")
    await first.commit()
    with pytest.raises(OffsetMismatchError):
        await other.commit()
    assert (await uploads.store.offset(post_id), uploads.stored_bytes(post_id)) == (9, b"the first")


async def test_the_same_piece_twice_is_kept_once(uploads: Uploads) -> None:
    """A retried request whose first run was slow."""
    post_id = await uploads.begin()
    first, other = await uploads.store.take(post_id), await uploads.store.take(post_id)
    for writer in (first, other):
        await writer.write(b"the same")
        await writer.commit()
    assert (await uploads.store.offset(post_id), uploads.stored_bytes(post_id)) == (8, b"the same")


async def test_a_piece_that_a_crash_left_behind_is_adopted(uploads: Uploads) -> None:
    """The object was there already, the offset not yet."""
    post_id = await uploads.begin()

    def crash() -> None:
        raise CrashError

    uploads.table.around = crash
    with pytest.raises(CrashError):
        await uploads.write(post_id, b"first")
    uploads.table.around = lambda: None
    assert await uploads.store.offset(post_id) == 0
    with pytest.raises(OffsetMismatchError):  # by somebody who has other bytes for that place
        await uploads.write(post_id, b"others")
    assert await uploads.store.offset(post_id) == 5
    await uploads.write(post_id, b", second")
    assert uploads.stored_bytes(post_id) == b"first, second"


async def test_a_piece_for_a_finished_upload_changes_nothing(uploads: Uploads) -> None:
    post_id = await uploads.begin()
    writer = await uploads.store.take(post_id)
    await writer.write(b"late")
    await uploads.posts.update(post_id, uploaded_post)
    with pytest.raises(UploadTakenOverError):
        await writer.commit()
    assert await uploads.store.offset(post_id) == 0


async def test_other_bytes_than_announced_are_dropped_all(uploads: Uploads) -> None:
    post_id, digest = await uploads.begin(), hashlib.sha256(b"an image").digest()
    for part in (b"dam", b"aged"):
        await uploads.write(post_id, part)
    with pytest.raises(ChecksumMismatchError):
        await uploads.store.promote(post_id, digest)
    assert (await uploads.store.offset(post_id), uploads.stored_bytes(post_id)) == (0, b"")
    for part in (b"an im", b"age"):
        await uploads.write(post_id, part)
    for _ in range(2):
        await uploads.store.promote(post_id, digest)
    assert uploads.stored_bytes(post_id) == b"an image"


async def test_a_piece_has_a_maximum(uploads: Uploads) -> None:
    writer = await uploads.store.take(await uploads.begin())
    await writer.write(bytes(100))
    with pytest.raises(PieceTooLargeError):
        await writer.write(b"x")


async def test_a_rewind_goes_to_the_beginning_of_the_piece_only(uploads: Uploads) -> None:
    post_id = await uploads.begin()
    await uploads.write(post_id, b"kept")
    writer = await uploads.store.take(post_id)
    await writer.write(b"dropped")
    await writer.rewind(4)
    with pytest.raises(UploadTakenOverError):
        await writer.rewind(0)
    await writer.commit()
    assert uploads.stored_bytes(post_id) == b"kept"


def test_the_key_of_an_original_is_its_posts() -> None:
    assert original_key("01K") == "originals/01K"
