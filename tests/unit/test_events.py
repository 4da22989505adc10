"""Events: their data, their retries, and a receiver that is down for an hour, hangs or is gone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from contract.ports.suite import a_comment, a_post
from fakes.clock import ManualClock
from image_poster.adapters.sqlite import events as sqlite_events
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.events import SqliteOutbox
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.events import (
    DELIVERED_FOR_MS,
    Event,
    EventType,
    retry_delay_ms,
    type_of_change,
)
from image_poster.domain.identity import Identity
from image_poster.domain.posts import PostStatus
from image_poster.ports.events import DeliveryFailedError, EndpointGoneError
from image_poster.services.events import (
    DeliveryOutcome,
    EndpointQueue,
    EventDelivery,
    EventRenderer,
)

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
A, B = "https://a.example/hook", "https://b.example/hook"


class FakeSender:
    """A `WebhookSender` that keeps what it sends. `fault` is raised for its URLs."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes]] = []
        self.faults: dict[str, Exception] = {}
        self.before: Callable[[str], Awaitable[None]] | None = None

    async def send(self, url: str, webhook_id: str, body: bytes) -> None:
        self.sent.append((url, webhook_id, body))
        if self.before is not None:
            await self.before(url)
        if url in self.faults:
            raise self.faults[url]

    def ids(self, url: str) -> list[str]:
        return [webhook_id for sent_to, webhook_id, _ in self.sent if sent_to == url]


class World:
    """One machine's posts, comments and outbox, and a fake sender."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.database = Database(path)
        self.outbox = SqliteOutbox(self.database, self.clock)
        self.posts = SqlitePostStore(self.database, self.clock)
        self.comments = SqliteCommentStore(self.database, self.clock)
        self.sender = FakeSender()
        renderer = EventRenderer(
            self.posts, self.comments, lambda stored: bytes(stored.head), lambda document: document
        )
        self.delivery = EventDelivery(self.outbox, renderer, self.sender, self.clock, lambda: 0.5)

    async def deliver_due(self) -> list[DeliveryOutcome]:
        """Try each due event once."""
        return [
            await self.delivery.try_once(endpoint, event)
            for endpoint in self.outbox.endpoints()
            for event in self.outbox.due(endpoint.id, 1000)
        ]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "test.db")
    yield world
    await world.database.close()


pytestmark = pytest.mark.anyio


def test_tries_follow_after_longer_and_longer_delays_until_three_days_are_over() -> None:
    delays: list[int] = []
    age = 0
    while (delay := retry_delay_ms(len(delays) + 1, age, 0.5)) is not None:
        delays.append(delay)
        age += delay
    assert delays[:5] == [5_000, 30_000, 5 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS]
    assert set(delays[5:]) == {12 * HOUR_MS}
    assert DELIVERED_FOR_MS - 12 * HOUR_MS < age <= DELIVERED_FOR_MS


@pytest.mark.parametrize(("random", "delay"), [(0.0, 4_000), (1.0, 6_000)])
def test_a_delay_differs_by_at_most_a_fifth(random: float, delay: int) -> None:
    assert retry_delay_ms(1, 0, random) == delay


@pytest.mark.parametrize(
    ("former", "status", "type_"),
    [
        (PostStatus.PROCESSING, PostStatus.READY, EventType.POST_READY),
        (PostStatus.IN_REVIEW, PostStatus.READY, EventType.POST_READY),
        (PostStatus.FAILED, PostStatus.READY, EventType.POST_READY),
        (PostStatus.HIDDEN, PostStatus.READY, EventType.POST_RESTORED),
        (PostStatus.READY, PostStatus.HIDDEN, EventType.POST_HIDDEN),
        (PostStatus.PROCESSING, PostStatus.FAILED, EventType.POST_FAILED),
        (PostStatus.AWAITING_UPLOAD, PostStatus.PROCESSING, None),
        (PostStatus.PROCESSING, PostStatus.IN_REVIEW, None),
        (PostStatus.FAILED, PostStatus.PROCESSING, None),
        (PostStatus.READY, PostStatus.READY, None),
    ],
)
def test_a_change_of_status_has_one_type(
    former: PostStatus, status: PostStatus, type_: EventType | None
) -> None:
    assert type_of_change(former, status) is type_


async def test_without_an_endpoint_nothing_is_stored(world: World) -> None:
    await ready_post(world)
    assert world.database.read("SELECT count(*) FROM outbox") == [(0,)]


async def ready_post(world: World) -> str:
    post = a_post()
    await world.posts.add(post)
    await set_status(world, post.id, PostStatus.READY)
    return post.id


async def set_status(world: World, post_id: str, status: PostStatus) -> None:
    await world.posts.update(post_id, lambda post: msgspec.structs.replace(post, status=status))


async def test_each_endpoint_gets_each_event_also_after_the_other_failed(world: World) -> None:
    await world.outbox.configure([A, B])
    await ready_post(world)
    world.sender.faults[A] = DeliveryFailedError("down")
    await world.deliver_due()
    assert len(world.sender.ids(B)) == 1
    reports = {report.endpoint.url: report for report in await world.outbox.reports()}
    assert (reports[A].waiting, reports[A].last_error) == (1, "down")
    assert (reports[B].waiting, reports[B].last_error) == (0, None)


async def test_a_receiver_that_is_down_for_an_hour_gets_the_event_at_its_next_try(
    world: World,
) -> None:
    await world.outbox.configure([A])
    await ready_post(world)
    world.sender.faults[A] = DeliveryFailedError("down")
    began, tries = world.clock.service_ms(), list[int]()
    while not tries or tries[-1] < HOUR_MS:
        if world.clock.service_ms() - began >= HOUR_MS:
            world.sender.faults.clear()
        if await world.deliver_due():
            tries.append(world.clock.service_ms() - began)
        world.clock.advance(1000)
    assert tries == [0, 5_000, 35_000, 335_000, 3_935_000]
    assert len(set(world.sender.ids(A))) == 1
    assert await world.deliver_due() == []


async def test_an_event_is_parked_after_three_days_and_sent_again_by_a_replay(world: World) -> None:
    await world.outbox.configure([A])
    await ready_post(world)
    world.sender.faults[A] = DeliveryFailedError("down")
    outcomes: list[DeliveryOutcome] = []
    while DeliveryOutcome.PARKED not in outcomes:
        outcomes += await world.deliver_due()
        world.clock.advance(MINUTE_MS)
    (report,) = await world.outbox.reports()
    assert (report.waiting, report.parked) == (0, 1)
    world.clock.advance(100 * HOUR_MS)
    assert await world.deliver_due() == []
    assert await world.outbox.replay() == 1
    world.sender.faults.clear()
    assert await world.deliver_due() == [DeliveryOutcome.DELIVERED]
    assert len(set(world.sender.ids(A))) == 1


async def test_a_replay_begins_the_schedule_anew_also_of_events_that_wait_for_a_retry(
    world: World,
) -> None:
    await world.outbox.configure([A])
    await ready_post(world)
    world.sender.faults[A] = DeliveryFailedError("down")
    while not (report := (await world.outbox.reports())[0]).parked:
        await world.deliver_due()
        world.clock.advance(MINUTE_MS)
    await ready_post(world)
    await world.deliver_due()
    assert (report.parked, await world.outbox.replay()) == (1, 2)
    assert await world.deliver_due() == [DeliveryOutcome.FAILED] * 2
    world.clock.advance(5_000)
    world.sender.faults.clear()
    assert await world.deliver_due() == [DeliveryOutcome.DELIVERED] * 2


async def test_any_error_is_a_failed_try(world: World) -> None:
    await world.outbox.configure([A])
    await ready_post(world)
    world.sender.faults[A] = RuntimeError("can't start new thread")
    assert await world.deliver_due() == [DeliveryOutcome.FAILED]
    (report,) = await world.outbox.reports()
    assert report.last_error == "RuntimeError: can't start new thread"
    assert report.oldest_ms == world.clock.now_ms()


async def test_an_event_of_a_later_version_stops_no_other(world: World) -> None:
    """The database was used by a later version before."""
    await world.outbox.configure([A])
    await ready_post(world)
    await world.database.write(
        lambda connection: connection.execute("UPDATE outbox SET type = 'post.liked'")
    )
    await ready_post(world)
    assert await world.deliver_due() == [DeliveryOutcome.DELIVERED] * 2


async def test_410_switches_off_until_a_replay_and_events_wait(world: World) -> None:
    await world.outbox.configure([A])
    post_id = await ready_post(world)
    world.sender.faults[A] = EndpointGoneError("the status is 410")
    assert await world.deliver_due() == [DeliveryOutcome.ENDPOINT_OFF]
    await world.comments.add(a_comment(post_id))
    world.clock.advance(HOUR_MS)
    assert await world.deliver_due() == []
    world.sender.faults.clear()
    await world.outbox.replay()
    assert await world.deliver_due() == [DeliveryOutcome.DELIVERED] * 2


async def test_data_is_read_at_the_delivery(world: World) -> None:
    await world.outbox.configure([A])
    post_id = await ready_post(world)
    comment = a_comment(post_id)
    await world.comments.add(comment)
    renderer = world.delivery.renderer
    shown = msgspec.json.decode(
        await renderer.body(Event(EventType.COMMENT_CREATED, post_id, comment.id), 0)
    )
    assert shown["data"]["content"] == comment.content
    assert shown["timestamp"] == "1970-01-01T00:00:00.000Z"
    await set_status(world, post_id, PostStatus.HIDDEN)
    for event, ids in [
        (
            Event(EventType.COMMENT_CREATED, post_id, comment.id),
            {"id": comment.id, "post_id": post_id},
        ),
        (Event(EventType.POST_READY, post_id), {"id": post_id}),
        (Event(EventType.POST_READY, "gone"), {"id": "gone"}),
    ]:
        assert msgspec.json.decode(await renderer.body(event, 0))["data"] == ids


async def test_an_unfinished_upload_that_ends_is_no_deleted_post(world: World) -> None:
    await world.outbox.configure([A])
    post = msgspec.structs.replace(a_post(), status=PostStatus.AWAITING_UPLOAD)
    await world.posts.add(post)
    await world.posts.remove(post.id, Identity(post.creator), ended=True)
    assert world.outbox.due(1, 10) == []


async def test_the_oldest_events_beyond_the_bound_are_deleted_and_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_events, "MAX_EVENTS", 3)
    await world.outbox.configure([A, B])
    posts = [await ready_post(world) for _ in range(5)]
    endpoint = world.outbox.endpoints()[1]
    for event in world.outbox.due(endpoint.id, 10):
        await world.outbox.complete(event)
    assert await world.outbox.enforce_bounds() == 2
    reports = await world.outbox.reports()
    assert [(report.waiting, report.dropped) for report in reports] == [(3, 2), (0, 0)]
    left = [event.event.post_id for event in world.outbox.due(reports[0].endpoint.id, 10)]
    assert left == posts[2:]


async def test_a_removed_endpoint_keeps_its_events_for_three_days(world: World) -> None:
    await world.outbox.configure([A])
    await ready_post(world)
    await world.outbox.configure([])
    await ready_post(world)
    assert world.outbox.endpoints() == []
    await world.outbox.configure([A])
    assert len(world.outbox.due(1, 10)) == 1
    await world.outbox.configure([])
    world.clock.advance(DELIVERED_FOR_MS + 1)
    await world.outbox.enforce_bounds()
    assert await world.outbox.reports() == []
    assert world.database.read("SELECT count(*) FROM outbox") == [(0,)]


async def test_parallel_tries_never_try_one_event_twice_at_a_time(world: World) -> None:
    await world.outbox.configure([A])
    for _ in range(20):
        await ready_post(world)
    (endpoint,) = world.outbox.endpoints()
    queue = EndpointQueue(world.outbox, endpoint)
    in_progress = asyncio.Event()

    async def wait(_url: str) -> None:
        if len(world.sender.sent) == 8:
            in_progress.set()
        await in_progress.wait()

    world.sender.before = wait
    await asyncio.gather(*[queue.try_next(world.delivery) for _ in range(8)])
    assert len(set(world.sender.ids(A))) == 8
    await asyncio.gather(*[queue.try_next(world.delivery) for _ in range(12)])
    assert len(set(world.sender.ids(A))) == len(world.sender.sent) == 20


async def test_the_clock_decides_what_is_due(world: World) -> None:
    await world.outbox.configure([A])
    await ready_post(world)
    (event,) = world.outbox.due(1, 10)
    await world.outbox.retry(1, event, 5_000, "down")
    assert world.outbox.due(1, 10) == []
    world.clock.advance(5_000)
    assert [again.tries for again in world.outbox.due(1, 10)] == [1]
