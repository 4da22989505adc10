"""Failed posts expire, with their images, some days after they failed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from contract.ports.suite import ImageStoreSuite, a_post
from fakes.clock import ManualClock
from image_poster.adapters.clock import ServiceClock
from image_poster.domain.moderation import Action, Decision, Subject
from image_poster.domain.posts import (
    IMAGE_BLOCKED,
    PROCESSING_FAILED,
    Failure,
    Post,
    failed_post,
    rejected_post,
    replayed_post,
)
from image_poster.editions.local.container import Container, Shared, open_container
from image_poster.editions.local.settings import Settings
from support.renderer import RENDERED

pytestmark = pytest.mark.anyio
DAY_MS = 24 * 3600 * 1000
DAMAGED = Failure("image_unreadable", "This image is damaged.")


@dataclass
class World:
    """A data folder, and a clock that a test moves."""

    container: Container
    clock: ManualClock

    async def failed(self, post: Post | None = None, failure: Failure = DAMAGED) -> str:
        """A post that fails now. Its original is stored."""
        post_id = await ImageStoreSuite().stored(self.container.images)
        posts = self.container.services.stores.posts
        await posts.add(msgspec.structs.replace(post or a_post(), id=post_id))
        await posts.update(post_id, lambda current: failed_post(current, failure))
        return post_id

    async def rejected(self) -> str:
        """A post whose image was blocked, with its renditions withheld."""
        posts, images = self.container.services.stores.posts, self.container.images
        post_id = await ImageStoreSuite().published(images)
        await images.withhold(post_id)
        await posts.add(msgspec.structs.replace(a_post(), id=post_id))
        await posts.update(post_id, lambda post: rejected_post(post, RENDERED, IMAGE_BLOCKED))
        return post_id

    async def exists(self, post_id: str) -> bool:
        return await self.container.services.stores.posts.find(post_id) is not None

    async def expire(self) -> int:
        return await self.container.failed_post_expiry.expire()

    def files(self) -> list[Path]:
        folder = self.container.settings.data_dir
        names = ("originals", "renditions", "withheld")
        return [path for name in names for path in (folder / name).glob("*/*")]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    service_clock = ServiceClock(wall_ms=clock.now_ms, monotonic_ms=clock.service_ms)
    (tmp_path / "data").mkdir()
    settings = Settings(data_dir=tmp_path / "data")
    async with open_container(settings, Shared.alone(service_clock)) as container:
        yield World(container, clock)


async def test_a_failed_post_expires_with_its_image_after_thirty_days(world: World) -> None:
    post_id = await world.failed()
    world.clock.advance(30 * DAY_MS)
    assert await world.expire() == 0
    world.clock.advance(1)
    assert await world.expire() == 1
    assert not await world.exists(post_id)
    assert world.files() == []
    assert await world.container.services.stores.posts.was_deleted(post_id)
    assert await world.expire() == 0


async def test_a_rejected_post_expires_with_its_withheld_renditions(world: World) -> None:
    post_id = await world.rejected()
    assert len(world.files()) == 3
    world.clock.advance(30 * DAY_MS + 1)
    assert await world.expire() == 1
    assert not await world.exists(post_id)
    assert world.files() == []


async def test_the_days_are_a_setting(world: World) -> None:
    await world.failed()
    world.clock.advance(2 * DAY_MS + 1)
    settings = replace(world.container.settings, failed_days=2)
    container = replace(world.container, settings=settings)
    assert await container.failed_post_expiry.expire() == 1


async def test_the_days_begin_with_the_failure(world: World) -> None:
    """An old post may have been imported today, and fail today."""
    old = msgspec.structs.replace(a_post(), created_at="2020-01-01T00:00:00.000Z")
    await world.failed(old)
    assert await world.expire() == 0
    world.clock.advance(30 * DAY_MS + 1)
    assert await world.expire() == 1


async def test_a_replayed_post_that_fails_again_begins_its_days_anew(world: World) -> None:
    posts = world.container.services.stores.posts
    post_id = await world.failed(failure=PROCESSING_FAILED)
    world.clock.advance(29 * DAY_MS)
    await posts.update(post_id, replayed_post)
    await posts.update(post_id, lambda post: failed_post(post, PROCESSING_FAILED))
    world.clock.advance(29 * DAY_MS)
    assert await world.expire() == 0
    world.clock.advance(DAY_MS + 1)
    assert await world.expire() == 1


async def test_a_rejected_post_that_an_admin_published_stays(world: World) -> None:
    post_id, posts = await world.rejected(), world.container.services.stores.posts
    ids = (world.clock.new_id(), "root", Action.PUBLISH, *Subject(post_id))
    decision = Decision(*ids, None, "", None, "2026-01-01T00:00:00.000Z")
    await world.container.services.stores.decisions.decide(decision)
    world.clock.advance(60 * DAY_MS)
    assert await world.expire() == 0
    assert await posts.is_ready(post_id)


async def test_a_wall_clock_that_is_set_forward_deletes_nothing(world: World) -> None:
    await world.failed()
    world.clock.set_wall(world.clock.now_ms() + 365 * DAY_MS)
    assert await world.expire() == 0


async def test_a_post_that_cannot_be_deleted_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = sorted([await world.failed() for _ in range(2)])
    world.clock.advance(30 * DAY_MS + 1)
    expiry, remove = world.container.failed_post_expiry, world.container.images.remove

    async def failing(post_id: str) -> None:
        if post_id == first:
            raise PermissionError(13, "Permission denied", post_id)
        await remove(post_id)

    monkeypatch.setattr(world.container.images, "remove", failing)
    assert await expiry.expire() == 1
    assert not await world.exists(other)
    [failure] = expiry.retries.drain_failures()
    assert (failure.work, failure.post_id) == ("deleting a failed post", first)
