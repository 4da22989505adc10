"""Nobody polls for image work, nor for its end."""

import asyncio
import os
from pathlib import Path

import pytest

from contract.ports.suite import a_post
from fakes.clock import ManualClock
from image_poster.adapters.sharing import SharedNotifier, create_descriptors
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.jobs import SqliteJobQueue
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.identity import Identity
from image_poster.domain.posts import published_post
from support.renderer import RENDERED
from support.services import services

FAR_OFF = 3600.0
# Whoever is never woken fails instead of hanging.
HUNG = 60.0

pytestmark = pytest.mark.anyio


def bells(processes: int) -> list[SharedNotifier]:
    """Those of one server's processes, all in this one; each has descriptors of its own."""
    workers = create_descriptors(processes)
    bells = [
        SharedNotifier(
            worker._replace(
                receiver=os.dup(worker.receiver), senders=tuple(map(os.dup, worker.senders))
            )
        )
        for worker in workers
    ]
    for descriptor in {each for worker in workers for each in worker.inherited}:
        os.close(descriptor)
    return bells


async def woken(notifier: SharedNotifier, post_id: str | None) -> "asyncio.Task[None]":
    """Somebody who waits."""
    task = asyncio.create_task(notifier.wait(post_id, FAR_OFF))
    await asyncio.sleep(0)
    return task


async def test_a_ring_wakes_who_waits_for_that_post_and_who_waits_for_any() -> None:
    notifier = SharedNotifier()
    first, other, everyone = [await woken(notifier, name) for name in ("one", "other", None)]
    notifier.notify("one")
    async with asyncio.timeout(HUNG):
        await asyncio.gather(first, everyone)
    assert not other.done()
    other.cancel()


async def test_a_ring_is_heard_in_every_process_of_the_server() -> None:
    first, second, third = bells(3)
    waiting = [await woken(notifier, "post") for notifier in (first, second, third)]
    second.notify("post")
    async with asyncio.timeout(HUNG):
        await asyncio.gather(*waiting)
    for notifier in (first, second, third):
        notifier.close()


async def test_rings_that_nobody_takes_hold_nobody_up() -> None:
    """A worker that hangs has a full buffer."""
    first, second = bells(2)
    for _ in range(100_000):
        first.notify("post")
    waiting = await woken(second, "another")
    first.notify("another")  # may be lost: the time ends the wait then
    waiting.cancel()
    first.close()
    second.close()


async def test_whoever_waits_for_a_post_is_answered_when_its_work_ends(tmp_path: Path) -> None:
    database, clock, notifier = Database(tmp_path / "test.db"), ManualClock(), SharedNotifier()
    posts = SqlitePostStore(database, clock, notifier=notifier)
    service = services(clock=clock, posts=posts, notifier=notifier, poll_seconds=FAR_OFF).posts
    worker = await woken(notifier, None)
    post = a_post()
    await posts.add(post)
    async with asyncio.timeout(HUNG):
        await worker
    reading = asyncio.create_task(service.get(post.id, Identity(post.creator), wait=FAR_OFF))
    await asyncio.sleep(0)
    await posts.update(post.id, lambda current: published_post(current, RENDERED))
    async with asyncio.timeout(HUNG):
        stored = await reading
    assert stored.post.status == "ready"
    await database.close()


async def test_work_that_is_given_up_or_taken_up_again_rings_too(tmp_path: Path) -> None:
    database, clock, notifier = Database(tmp_path / "test.db"), ManualClock(), SharedNotifier()
    posts, jobs = SqlitePostStore(database, clock), SqliteJobQueue(database, clock, notifier)
    post = a_post()
    await posts.add(post)
    job = await jobs.lease(1000)
    assert job is not None
    for step in (jobs.park(job, error="broken"), jobs.replay(post.id)):
        waiting = await woken(notifier, post.id)
        await step
        async with asyncio.timeout(HUNG):
            await waiting
    await database.close()
