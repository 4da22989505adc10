"""Abandoned uploads expire after a day, with their bytes."""

from dataclasses import dataclass

import pytest

from contract.ports.suite import ALICE
from fakes.clock import ManualClock
from fakes.images import MemoryImageStore
from fakes.state import MemoryState
from fakes.uploads import MemoryUploadRecordStore, MemoryUploadStore
from image_poster.domain.errors import UploadGoneError
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.domain.uploads import UploadOrder
from image_poster.editions.local.maintenance import UploadSettler
from image_poster.services import Services
from support.services import services

pytestmark = pytest.mark.anyio


@dataclass
class World:
    """Uploads to a service in memory."""

    clock: ManualClock
    images: MemoryImageStore
    services: Services
    settler: UploadSettler

    async def begun(self) -> str:
        """An upload of ten bytes, of which four are there."""
        reserve = self.services.uploads.reserve_by_tus
        answer, _ = await reserve(ALICE, UploadOrder(10), None)
        post_id = answer.location.rpartition("/")[2]
        self.images.receive(post_id, b"four")
        return post_id


@pytest.fixture
def world() -> World:
    clock, state = ManualClock(), MemoryState()
    images = MemoryImageStore(clock)
    uploads = MemoryUploadStore(images)
    world = services(state, clock, images=images, uploads=uploads)
    records = MemoryUploadRecordStore(state)
    settler = UploadSettler(records, images, uploads, world.uploads, world.posts, clock)
    return World(clock, images, world, settler)


async def test_an_upload_is_kept_for_a_day(world: World) -> None:
    post_id = await world.begun()
    world.clock.advance(UPLOAD_KEPT_MS - 1)
    assert await world.settler.expire() == 0
    assert (await world.services.uploads.state(post_id, ALICE)).offset == 4


async def test_then_it_is_gone_whether_or_not_it_was_swept(world: World) -> None:
    """Expiration: 404 or 410."""
    post_id = await world.begun()
    world.clock.advance(UPLOAD_KEPT_MS)
    with pytest.raises(UploadGoneError):
        await world.services.uploads.state(post_id, ALICE)
    assert await world.settler.expire() == 1
    with pytest.raises(UploadGoneError):
        await world.services.uploads.state(post_id, ALICE)
    assert await world.services.stores.posts.find(post_id) is None
    assert world.images.received(post_id) == b""
    assert await world.settler.expire() == 0


@pytest.mark.parametrize("swept", [True, False])
async def test_a_key_whose_upload_ran_out_begins_another(world: World, *, swept: bool) -> None:
    """And from then on the key is that one's."""
    reserve, order = world.services.uploads.reserve_by_tus, UploadOrder(10)
    first, _ = await reserve(ALICE, order, "key")
    world.clock.advance(UPLOAD_KEPT_MS)
    if swept:
        assert await world.settler.expire() == 1
    second, _ = await reserve(ALICE, order, "key")
    assert (second.replayed, second.resource != first.resource) == (False, True)
    third, _ = await reserve(ALICE, order, "key")
    assert (third.replayed, third.resource) == (True, second.resource)


async def test_what_is_whole_is_completed_beside_those_who_bring_the_rest(world: World) -> None:
    """More uploads than are looked at in one go, one of them whole."""
    begun = [await world.begun() for _ in range(250)]
    whole = await world.begun()
    world.images.receive(whole, b"all of ten")
    writer = await world.services.stores.uploads.take(begun[0])
    assert await world.settler.complete() == 1
    await writer.write(b"more")
    assert not writer.superseded
    assert await world.images.has_original(whole)


async def test_what_is_complete_is_completed_and_never_expires(world: World) -> None:
    """As after a crash between the last byte and the completion."""
    post_id = await world.begun()
    world.images.receive(post_id, b"all of ten")
    assert await world.settler.complete() == 1
    world.clock.advance(UPLOAD_KEPT_MS)
    assert await world.settler.expire() == 0
    assert await world.images.has_original(post_id)


@pytest.mark.parametrize("way", ["complete", "expire"])
async def test_an_older_database_that_still_awaits_an_upload_never_deletes_its_original(
    world: World, way: str
) -> None:
    """Its length was told, and its bytes came, after the copy of the database was made."""
    answer, _ = await world.services.uploads.reserve_by_tus(ALICE, UploadOrder(None), None)
    post_id = answer.location.rpartition("/")[2]
    world.images.keep(post_id, "original", b"all of it")
    world.clock.advance(UPLOAD_KEPT_MS)
    await getattr(world.settler, way)()
    stored = await world.services.stores.posts.find(post_id)
    assert stored is not None
    assert stored.post.status == "processing"
    assert await world.images.has_original(post_id)
