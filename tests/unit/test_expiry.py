"""What was abandoned expires after a day, with its bytes."""

from dataclasses import dataclass

import pytest

from contract.ports.suite import ALICE
from image_poster.adapters.memory import (
    ManualClock,
    MemoryAwaitingUploads,
    MemoryImageStore,
    MemoryPostStore,
    MemoryState,
    MemoryUploadRecordStore,
    MemoryUploadStore,
)
from image_poster.domain.errors import UploadGoneError
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits
from image_poster.domain.signing import Signer
from image_poster.http.put_urls import SignedPutUrls
from image_poster.usecases.complete_upload import CompleteUpload
from image_poster.usecases.delete_post import DeletePost
from image_poster.usecases.end_upload import SettleUploads
from image_poster.usecases.receive_upload import ReceiveUpload
from image_poster.usecases.reserve_upload import ReserveUpload, UploadOrder

pytestmark = pytest.mark.anyio


@dataclass
class World:
    """Uploads to a service in memory."""

    clock: ManualClock
    posts: MemoryPostStore
    pictures: MemoryImageStore
    reserve: ReserveUpload
    receive: ReceiveUpload
    settle: SettleUploads

    async def begun(self) -> str:
        """An upload of ten bytes, of which four are there."""
        answer, _ = await self.reserve.by_tus(ALICE, UploadOrder(10, "", ""), None)
        post_id = answer.location.rpartition("/")[2]
        self.pictures.receive(post_id, b"four")
        return post_id


@pytest.fixture
def world() -> World:
    clock, state = ManualClock(), MemoryState()
    posts, pictures = MemoryPostStore(state, clock), MemoryImageStore(clock)
    uploads, limits = MemoryUploadStore(pictures), Limits()
    completion = CompleteUpload(posts, uploads)
    ledger, awaiting = MemoryUploadRecordStore(state), MemoryAwaitingUploads(state)
    deletion = DeletePost(posts, pictures)
    return World(
        clock,
        posts,
        pictures,
        ReserveUpload(posts, SignedPutUrls(Signer(b"")), clock, limits),
        ReceiveUpload(ledger, uploads, completion, clock, limits),
        SettleUploads(awaiting, pictures, uploads, completion, deletion, clock),
    )


async def test_an_upload_is_kept_for_a_day(world: World) -> None:
    post_id = await world.begun()
    world.clock.advance(UPLOAD_KEPT_MS - 1)
    assert await world.settle.expire() == 0
    assert (await world.receive.state(post_id, ALICE)).offset == 4


async def test_then_it_is_gone_whether_or_not_it_was_swept(world: World) -> None:
    """Expiration: 404 or 410."""
    post_id = await world.begun()
    world.clock.advance(UPLOAD_KEPT_MS)
    with pytest.raises(UploadGoneError):
        await world.receive.state(post_id, ALICE)
    assert await world.settle.expire() == 1
    with pytest.raises(UploadGoneError):
        await world.receive.state(post_id, ALICE)
    assert await world.posts.find(post_id) is None
    assert world.pictures.received(post_id) == b""
    assert await world.settle.expire() == 0


async def test_what_is_complete_is_completed_and_never_expires(world: World) -> None:
    """As after a crash between the last byte and the completion."""
    post_id = await world.begun()
    world.pictures.receive(post_id, b"all of ten")
    assert await world.settle.complete() == 1
    world.clock.advance(UPLOAD_KEPT_MS)
    assert await world.settle.expire() == 0
    assert await world.pictures.has_original(post_id)


@pytest.mark.parametrize("way", ["complete", "expire"])
async def test_an_older_database_that_still_awaits_an_upload_never_deletes_its_original(
    world: World, way: str
) -> None:
    """Its length was told, and its bytes came, after the copy of the database was made."""
    answer, _ = await world.reserve.by_tus(ALICE, UploadOrder(None, "", ""), None)
    post_id = answer.location.rpartition("/")[2]
    world.pictures.keep(post_id, "original", b"all of it")
    world.clock.advance(UPLOAD_KEPT_MS)
    await getattr(world.settle, way)()
    stored = await world.posts.find(post_id)
    assert stored is not None
    assert stored.post.status == "processing"
    assert await world.pictures.has_original(post_id)
