"""The deletion of an account is completed in the background, whatever ended before."""

from dataclasses import replace

import pytest

from contract.ports.suite import a_comment, a_post
from fakes.accounts import MemoryAccountStore
from fakes.clock import ManualClock
from fakes.images import MemoryImageStore
from fakes.posts import MemoryTombstoneQueue
from fakes.state import MemoryState
from image_poster.domain.accounts import GOOD_STANDING, Block
from image_poster.domain.errors import BusyError
from image_poster.domain.identity import Identity
from image_poster.domain.posts import published_post
from image_poster.editions.local.maintenance import PostRetries, Sweeper
from image_poster.editions.local.moderation import AccountDeletionRunner
from image_poster.ports.images import FilesRemainError
from image_poster.services.posts import PostPurger
from support.renderer import RENDERED
from support.services import services

pytestmark = pytest.mark.anyio
AT_ONCE = 0.0


class World:
    """A service in memory, whose tokens and images may fail for a user or a post."""

    def __init__(self) -> None:
        self.clock, self.state = ManualClock(), MemoryState()
        self.images, self.revoked = MemoryImageStore(self.clock), list[str]()
        self.accounts = MemoryAccountStore(self.state, self.clock)
        self.services = services(
            self.state,
            self.clock,
            images=self.images,
            accounts=self.accounts,
            revoke_tokens=self.revoke,
        )
        stores, tombstones = self.services.stores, MemoryTombstoneQueue(self.state)
        purger, retries = PostPurger(tombstones, self.images), PostRetries(AT_ONCE, AT_ONCE)
        sweeper = Sweeper(stores.posts, self.images, tombstones, purger, self.clock, retries)
        eraser = self.services.accounts.eraser
        self.tombstones, own_retries = tombstones, PostRetries(AT_ONCE, AT_ONCE)
        self.deletions = AccountDeletionRunner(
            self.accounts, eraser, tombstones, sweeper, own_retries
        )

    async def revoke(self, user: str) -> None:
        self.revoked.append(user)

    async def post(self, creator: str) -> str:
        """A ready post with an original."""
        post, posts = a_post(creator), self.services.stores.posts
        self.images.keep(post.id, "original", b"bytes")
        await posts.add(post)
        await posts.update(post.id, lambda current: published_post(current, RENDERED))
        return post.id

    async def comment(self, post_id: str, creator: str) -> None:
        await self.services.stores.comments.add(a_comment(post_id, creator))

    async def begin(self, user: str) -> None:
        """A request began the deletion, and the server was killed."""
        await self.accounts.begin_deletion(user)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_deletion_that_a_crash_interrupted_is_completed(world: World) -> None:
    alices, bobs = [await world.post("alice") for _ in range(3)], await world.post("bob")
    await world.comment(bobs, "alice")
    await world.comment(alices[0], "bob")
    await world.services.stores.blocks.add("alice", Block("bob", "2026-01-01T00:00:00.000Z"))
    await world.begin("alice")
    assert await world.deletions.complete() == 1
    stores = world.services.stores
    assert [await stores.posts.find(post_id) for post_id in alices] == [None] * 3
    assert [await world.images.has_original(post_id) for post_id in (*alices, bobs)] == [
        *[False] * 3,
        True,
    ]
    remaining = await stores.posts.find(bobs)
    assert remaining is not None
    assert remaining.total_comments == 0
    assert await stores.blocks.blocked_by("alice") == frozenset()
    assert world.state.comments.get(alices[0], {}) == {}
    assert world.revoked == ["alice"]
    assert await world.accounts.standing("alice") == GOOD_STANDING
    assert await world.deletions.complete() == 0


async def test_an_account_is_not_gone_before_its_last_file_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its private files cannot be removed yet: the disk has a fault."""
    post_id, remove = await world.post("alice"), world.images.remove

    async def failing(removed_id: str) -> None:
        raise FilesRemainError(13, "Permission denied", removed_id)

    monkeypatch.setattr(world.images, "remove", failing)
    await world.begin("alice")
    assert await world.deletions.complete() == 0
    [failure] = world.deletions.retries.drain_failures()
    assert (failure.work, failure.post_id) == ("deleting an account", "alice")
    assert post_id in str(failure.error)
    assert (await world.accounts.standing("alice")).is_deleting
    monkeypatch.setattr(world.images, "remove", remove)
    assert await world.deletions.complete() == 1
    assert not await world.images.has_original(post_id)


async def test_a_deletion_that_fails_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in ("alice", "bob"):
        await world.begin(user)
    finish = world.accounts.finish_deletion

    async def failing(user: str) -> None:
        if user == "alice":
            raise BusyError
        await finish(user)

    monkeypatch.setattr(world.accounts, "finish_deletion", failing)
    assert await world.deletions.complete() == 1
    assert await world.accounts.deleting() == ["alice"]


async def test_a_deletion_that_fails_waits_longer_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = list[str]()

    async def failing(user: str) -> None:
        tries.append(user)
        raise BusyError

    monkeypatch.setattr(world.accounts, "finish_deletion", failing)
    deletions = replace(world.deletions, retries=PostRetries(first_pause_seconds=3600))
    await world.begin("alice")
    for _ in range(3):
        assert await deletions.complete() == 0
    assert tries == ["alice"]


async def test_deletions_of_other_users_posts_delay_no_account(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy service some deleted post is always waiting to be purged."""
    purge, later = world.deletions.sweeper.purge_deleted, list[str]()

    async def purge_while_others_delete() -> int:
        count = await purge()
        later.append(await world.post("bob"))
        await world.services.stores.posts.remove(later[-1], Identity("bob"))
        return count

    monkeypatch.setattr(Sweeper, "purge_deleted", lambda _: purge_while_others_delete())
    await world.post("alice")
    await world.begin("alice")
    assert await world.deletions.complete() == 1
    assert await world.tombstones.pending(10) == later
