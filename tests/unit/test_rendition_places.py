"""Renditions are where the status of their post requires, whatever a crash left behind."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from contract.ports.suite import ImageStoreSuite, a_post
from fakes.clock import ManualClock
from image_poster.adapters.files.images import FileImageStore
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.posts import IMAGE_BLOCKED, Post, PostStatus
from image_poster.editions.local.maintenance import PostRetries
from image_poster.editions.local.moderation import RenditionReconciler

pytestmark = pytest.mark.anyio
NOT_PUBLIC = (PostStatus.HIDDEN, PostStatus.IN_REVIEW, PostStatus.FAILED)
AT_ONCE = 0.0


@dataclass
class World:
    """Posts in SQLite, with renditions in files."""

    posts: SqlitePostStore
    images: FileImageStore
    reconciler: RenditionReconciler

    async def post(self, status: PostStatus, *, withheld: bool) -> str:
        """A post of this status, with its renditions in one of the two places."""
        post_id = await ImageStoreSuite().published(self.images)
        post = msgspec.structs.replace(a_post(), id=post_id, status=status)
        if status is PostStatus.FAILED:
            post = msgspec.structs.replace(post, failure=IMAGE_BLOCKED)
        await self.posts.add(post)
        if withheld:
            await self.images.withhold(post_id)
        return post_id

    async def set_status(self, post_id: str, status: PostStatus) -> None:
        def change(post: Post) -> Post:
            return msgspec.structs.replace(post, status=status)

        await self.posts.update(post_id, change)

    async def is_public(self, post_id: str) -> bool:
        return await self.images.public_among([post_id]) == [post_id]

    async def reconcile(self, *, seconds_ago: float = -60) -> int:
        older_than_ms = round((time.time() - seconds_ago) * 1000)
        return await self.reconciler.reconcile(older_than_ms=older_than_ms)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database(tmp_path / "image_poster.db")
    posts, images = SqlitePostStore(database, ManualClock()), FileImageStore(Layout(tmp_path))
    retries = PostRetries(AT_ONCE, AT_ONCE)
    yield World(posts, images, RenditionReconciler(database, posts, images, retries))
    await database.close()


async def test_renditions_of_a_ready_post_become_public_again(world: World) -> None:
    """A crash came between the move of a hidden post's files and its row, or after the row of a
    restored post."""
    post_id = await world.post(PostStatus.READY, withheld=True)
    assert await world.reconcile() == 1
    assert await world.is_public(post_id)
    assert await world.reconcile() == 0


@pytest.mark.parametrize("status", NOT_PUBLIC)
async def test_renditions_of_a_post_that_is_not_public_are_withheld(
    world: World, status: PostStatus
) -> None:
    """A backup copied the row and the files at different moments."""
    post_id = await world.post(status, withheld=False)
    assert await world.reconcile() == 1
    assert not await world.is_public(post_id)
    assert (await world.images.open_withheld(post_id, "1600")).size == len("1600")
    assert await world.reconcile() == 0


async def test_renditions_in_the_right_place_stay(world: World) -> None:
    ready = await world.post(PostStatus.READY, withheld=False)
    withheld = [await world.post(status, withheld=True) for status in NOT_PUBLIC]
    assert await world.reconcile() == 0
    assert await world.images.public_among([ready, *withheld]) == [ready]


async def test_renditions_that_a_decision_is_about_to_hide_stay_private(world: World) -> None:
    """The decision moves the files first, and writes its row a moment later."""
    post_id = await world.post(PostStatus.READY, withheld=True)
    assert await world.reconcile(seconds_ago=60) == 0
    assert not await world.is_public(post_id)


def during(
    move: Callable[[str], Awaitable[None]], action: Callable[[], Awaitable[None]]
) -> Callable[[str], Awaitable[None]]:
    """The move of a post's files, which `action` interrupts once it is done."""
    pending = [action]

    async def move_and_act(post_id: str) -> None:
        await move(post_id)
        if pending:
            await pending.pop()()

    return move_and_act


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (PostStatus.READY, PostStatus.HIDDEN, "expose"),
        (PostStatus.HIDDEN, PostStatus.READY, "withhold"),
    ],
)
async def test_a_decision_during_the_move_has_the_last_word(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    before: PostStatus,
    after: PostStatus,
    name: str,
) -> None:
    post_id = await world.post(before, withheld=before is PostStatus.READY)

    async def decide() -> None:
        await world.set_status(post_id, after)

    monkeypatch.setattr(world.images, name, during(getattr(world.images, name), decide))
    assert await world.reconcile() == 0
    assert await world.is_public(post_id) is (after is PostStatus.READY)


async def test_a_post_whose_files_cannot_be_moved_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = sorted([await world.post(PostStatus.HIDDEN, withheld=False) for _ in range(2)])
    withhold = world.images.withhold

    async def failing(post_id: str) -> None:
        if post_id == first:
            raise PermissionError(13, "Permission denied", post_id)
        await withhold(post_id)

    monkeypatch.setattr(world.images, "withhold", failing)
    assert await world.reconcile() == 1
    assert await world.images.public_among([first, other]) == [first]
    [failure] = world.reconciler.retries.drain_failures()
    assert (failure.work, failure.post_id) == ("withholding", first)
