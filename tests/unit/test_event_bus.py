"""Events on the bus of a stack: the real stores over a table in memory, its stream, and a bus."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from contract.ports.suite import ALICE, a_comment, a_post, an_upload
from fakes.clock import ManualClock
from fakes.images import MemoryImageStore
from image_poster.adapters.dynamodb.accounts import DynamoAccountStore, DynamoReportStore
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.database import Key
from image_poster.adapters.dynamodb.moderation import DynamoDecisionStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.schema import post_key
from image_poster.adapters.eventbridge import SOURCE, BusEvent, EventBridgeBus
from image_poster.domain.comments import Comment, decode_comment
from image_poster.domain.errors import BusyError
from image_poster.domain.events import EventType
from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.limits import Limits
from image_poster.domain.moderation import Action, Decision, Reason, Report, Subject
from image_poster.domain.posts import Failure, failed_post, published_post
from image_poster.editions.aws.event_bus import EventPublisher, stream_event
from image_poster.http.comments import comment_body
from image_poster.http.post_bodies import post_body
from image_poster.services.accounts import AccountEraser
from image_poster.services.posts import NULL_NOTIFIER, PostService
from support.dynamodb import CrashError, EventSourceMapping, FakeTable, Record
from support.event_bus import Entry, FakeEventBus
from support.filters import EVENT_MAPPING, passes
from support.renderer import RENDERED

pytestmark = pytest.mark.anyio
NOW = "2026-01-01T00:00:00.000Z"
BUS = "image-poster-test"
ROOT = Identity("root", admin=True)


class World:
    """The stores of AWS over a table in memory, and the function that puts events."""

    def __init__(self) -> None:
        self.table, self.clock, self.bus = FakeTable(), ManualClock(), FakeEventBus()
        table, clock = self.table, self.clock
        self.pauses: list[float] = []
        self.posts, self.comments = DynamoPostStore(table, clock), DynamoCommentStore(table, clock)
        self.reports = DynamoReportStore(table, clock)
        self.accounts = DynamoAccountStore(table, clock, self.comments)
        self.decisions = DynamoDecisionStore(table, clock, self.posts, self.comments)
        self.counter = DynamoCommentCounter(table, clock)
        bus = EventBridgeBus(self.bus, BUS, self.pauses.append)
        self.publisher = EventPublisher(self.posts, self.comments, bus, clock)
        self.number = 0

    async def ready(self, creator: str = "alice") -> str:
        post = a_post(creator)
        await self.posts.add(post)
        await self.posts.update(post.id, lambda current: published_post(current, RENDERED))
        return post.id

    async def comment(self, post_id: str, creator: str = "bob") -> Comment:
        comment = a_comment(post_id, creator)
        await self.comments.add(comment)
        return comment

    async def decide(self, action: Action, subject: Subject) -> str:
        decision = Decision(self.clock.new_id(), "root", action, *subject, "spam", "", None, NOW)
        await self.decisions.decide(decision)
        return decision.id

    def records(self) -> list[Record]:
        """The records since the last call that reach the function, with times as Lambda gives."""
        new, self.number = self.table.stream[self.number :], len(self.table.stream)
        seconds = float(self.clock.now_ms() // 1000)
        for record in new:
            record["dynamodb"]["ApproximateCreationDateTime"] = seconds
        assert not [record for record in new if stream_event(record) and not reaches(record)]
        return [record for record in new if reaches(record)]

    async def events(self) -> list[tuple[str, Any]]:
        """The type and data of the events since the last call."""
        self.bus.entries.clear()
        assert await self.publisher.publish(self.records()) == []
        return [(detail["type"], detail["data"]) for detail in self.bus.details]

    async def post_json(self, post_id: str) -> Any:
        """The post as the API shows it."""
        stored = await self.posts.find(post_id)
        assert stored is not None
        return json.loads(post_body(stored, 5))


def reaches(record: Record) -> bool:
    """True if the record passes the filters of the function's mapping."""
    return passes(record, EVENT_MAPPING)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world() -> World:
    return World()


async def test_a_post_that_becomes_ready_is_sent_as_the_api_shows_it(world: World) -> None:
    post_id = await world.ready()
    assert await world.events() == [("post.ready", await world.post_json(post_id))]
    (entry,) = world.bus.entries
    assert (entry["EventBusName"], entry["Source"]) == (BUS, SOURCE)
    assert entry["DetailType"] == "post.ready"
    (detail,) = world.bus.details
    assert set(detail) == {"id", "type", "timestamp", "data"}
    assert detail["timestamp"] == rfc3339(world.clock.now_ms())
    assert entry["Time"] == world.clock.now_ms() // 1000


async def test_a_hidden_post_is_sent_by_its_id_and_a_restored_one_as_shown(world: World) -> None:
    hidden = await world.ready()
    await world.events()
    decision_id = await world.decide(Action.HIDE, Subject(hidden))
    about = {"id": decision_id, "post_id": hidden, "comment_id": None, "user": None}
    assert await world.events() == [("decision.made", about), ("post.hidden", {"id": hidden})]
    await world.decide(Action.RESTORE, Subject(hidden))
    restored = ("post.restored", await world.post_json(hidden))
    assert restored in await world.events()


async def test_a_failed_post_is_sent_by_its_id(world: World) -> None:
    post = a_post()
    await world.posts.add(post)
    await world.posts.update(
        post.id, lambda current: failed_post(current, Failure("image_invalid", "no image"))
    )
    assert await world.events() == [("post.failed", {"id": post.id})]


async def test_comments_are_sent_and_their_edits_and_counts_are_not(world: World) -> None:
    post_id = await world.ready()
    await world.events()
    comment = await world.comment(post_id)
    document = await world.comments.find(post_id, comment.id)
    shown = ("comment.created", json.loads(comment_body(document)))
    assert await world.events() == [shown]
    await world.counter.count(post_id, [comment.id])
    await world.comments.update(
        post_id, comment.id, lambda before: replace(before, content="another text")
    )
    assert decode_comment(await world.comments.find(post_id, comment.id)).content != "hello"
    assert await world.events() == []
    await world.comments.remove(post_id, comment.id, ALICE)
    await world.counter.count(post_id, [comment.id])
    ids = {"id": comment.id, "post_id": post_id}
    assert await world.events() == [("comment.deleted", ids)]


async def test_folds_of_a_ready_post_cost_no_invocation(world: World) -> None:
    post_id = await world.ready()
    comment = await world.comment(post_id)
    world.records()
    await world.counter.count(post_id, [comment.id])
    assert len(world.table.stream) > world.number
    assert world.records() == []


async def test_a_resource_that_is_hidden_or_gone_by_then_is_sent_by_its_ids(world: World) -> None:
    hidden, deleted = await world.ready(), await world.ready()
    comments = [await world.comment(post_id) for post_id in (hidden, deleted)]
    other = await world.ready()
    gone = await world.comment(other)
    await world.comments.remove(other, gone.id, ALICE)
    await world.decide(Action.HIDE, Subject(hidden))
    await world.posts.remove(deleted, ALICE)
    events = await world.events()
    for comment in (*comments, gone):
        ids = {"id": comment.id, "post_id": comment.post_id}
        assert ("comment.created", ids) in events
    for post_id in (hidden, deleted):
        assert ("post.ready", {"id": post_id}) in events
    assert "hello" not in json.dumps(events)


async def test_a_report_and_a_decision_about_a_user_are_sent_without_texts(world: World) -> None:
    post_id = await world.ready()
    comment = await world.comment(post_id)
    await world.events()
    report = Report("01R", "carol", post_id, comment.id, Reason.SPAM, "a secret", NOW)
    await world.reports.add(report)
    subject = {"post_id": post_id, "comment_id": comment.id}
    assert await world.events() == [("report.created", {"id": "01R", **subject})]
    decision_id = await world.decide(Action.BAN, Subject(user="bob"))
    about = {"id": decision_id, "post_id": None, "comment_id": None, "user": "bob"}
    assert await world.events() == [("decision.made", about)]


async def test_the_purge_of_a_deleted_post_sends_no_events_of_its_comments(world: World) -> None:
    post_id = await world.ready()
    comments = [await world.comment(post_id) for _ in range(3)]
    await world.counter.count(post_id, [comments[0].id])
    await world.events()
    world.clock.advance(5000)
    await world.posts.remove(post_id, ALICE)
    assert await world.events() == [("post.deleted", {"id": post_id})]
    world.clock.advance(5000)
    await world.comments.remove(post_id, comments[0].id, ROOT)
    while await world.posts.purge_comments(post_id, 100):
        pass
    await world.posts.mark_purged(post_id)
    assert await world.events() == []


async def test_a_comment_deleted_before_its_post_has_its_event_however_late(world: World) -> None:
    post_id = await world.ready()
    comment = await world.comment(post_id)
    await world.events()
    await world.comments.remove(post_id, comment.id, ALICE)
    late = world.records()
    world.clock.advance(5000)
    await world.posts.remove(post_id, ALICE)
    world.bus.entries.clear()
    await world.publisher.publish(late)
    assert [detail["type"] for detail in world.bus.details] == ["comment.deleted"]


async def test_an_upload_without_bytes_has_no_events(world: World) -> None:
    for end in ("expired", "aborted"):
        post, upload = an_upload()
        await world.posts.add(post, upload=upload)
        if end == "aborted":
            await world.posts.remove(post.id, ALICE, ended=True)
    world.table.expire(2**40)
    assert await world.events() == []


async def test_the_deletion_of_an_account_sends_its_events(world: World) -> None:
    own, other = await world.ready("bob"), await world.ready()
    on_own, on_other = await world.comment(own), await world.comment(other)
    await world.events()
    service = PostService(
        world.posts,
        MemoryImageStore(world.clock),
        world.clock,
        Limits(),
        lambda _: b"",
        NULL_NOTIFIER,
        0,
    )
    await world.accounts.begin_deletion("bob")
    await world.accounts.begin_deletion("bob")
    await AccountEraser(world.accounts, service).erase_content("bob")
    events = await world.events()
    assert sorted(type_ for type_, _ in events) == [
        "comment.deleted",
        "post.deleted",
        "user.deleted",
    ]
    assert ("user.deleted", {"user": "bob"}) in events
    assert ("comment.deleted", {"id": on_other.id, "post_id": other}) in events
    assert on_own.id not in json.dumps(events)


async def test_a_record_that_is_delivered_again_gives_the_same_id(world: World) -> None:
    post_id = await world.ready()
    for _ in range(5):
        await world.comment(post_id)
    records = world.records()
    for _ in range(2):
        assert await world.publisher.publish(records) == []
    ids = [detail["id"] for detail in world.bus.details]
    assert ids[:6] == ids[6:]
    assert len(set(ids)) == 6
    assert world.bus.details[:6] == world.bus.details[6:]


async def test_only_a_failed_entry_is_put_again(world: World) -> None:
    comment = await world.comment(await world.ready())
    refusals = 2

    def accepts(entry: Entry) -> bool:
        nonlocal refusals
        if entry["DetailType"] != EventType.COMMENT_CREATED or not refusals:
            return True
        refusals -= 1
        return False

    world.bus.accepts = accepts
    with capture_logs() as logs:
        events = await world.events()
    assert ("comment.created", json.loads(await shown(world, comment))) in events
    assert [len(call) for call in world.bus.calls] == [2, 1, 1]
    assert len(world.pauses) == 2
    assert not [line for line in logs if "Failures" in line]


async def shown(world: World, comment: Comment) -> bytes:
    return comment_body(await world.comments.find(comment.post_id, comment.id))


async def test_events_that_the_bus_never_accepts_are_parked_with_the_metric_of_the_alarm(
    world: World,
) -> None:
    post_id = await world.ready()
    refused = await world.comment(post_id)
    accepted = await world.comment(post_id)
    world.bus.accepts = lambda entry: refused.id not in entry["Detail"]
    mapping = mapping_of(world, attempts=4)
    with capture_logs() as logs:
        await mapping.deliver(world.records(), repeats=0)
    created = [detail for detail in world.bus.details if detail["type"] == "comment.created"]
    assert {detail["data"]["id"] for detail in created} == {accepted.id}
    parked = [record for part in mapping.parked for record in part]
    numbers = [stream_event(record) for record in parked]
    assert refused.id in {event.event.comment_id for event in numbers if event}
    failures = [line for line in logs if "Failures" in line]
    assert len(failures) == 4
    assert failures[0]["service"] == "events"
    (directive,) = failures[0]["_aws"]["CloudWatchMetrics"]
    assert {"Name": "Failures", "Unit": "Count"} in directive["Metrics"]
    world.bus.accepts = lambda _: True  # an operator's replay
    assert await world.publisher.publish(parked) == []
    assert refused.id in json.dumps(world.bus.details)


def mapping_of(world: World, seed: int = 1, attempts: int = 50) -> EventSourceMapping:
    async def handle(event: Record) -> dict[str, Any]:
        failed = await world.publisher.publish(event["Records"])
        return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}

    return EventSourceMapping(handle, seed=seed, attempts=attempts, name=EVENT_MAPPING)


async def test_a_bus_that_is_down_fails_the_records_and_they_are_put_later(world: World) -> None:
    await world.comment(await world.ready())
    records = world.records()
    world.bus.is_down = True
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    assert await world.publisher.publish(records) == numbers
    world.bus.is_down = False
    assert await world.publisher.publish(records) == []
    assert len(world.bus.entries) == 2


async def test_a_record_that_cannot_be_read_fails_alone(world: World) -> None:
    busy, other = await world.ready(), await world.ready()
    records = world.records()
    get = world.table.get

    async def throttled(key: Key, *, consistent: bool = True) -> Any:
        if key == post_key(busy):
            raise BusyError
        return await get(key, consistent=consistent)

    world.table.get = throttled  # type: ignore[method-assign]
    with capture_logs() as logs:
        failed = await world.publisher.publish(records)
    assert failed == [records[0]["dynamodb"]["SequenceNumber"]]
    assert [detail["data"]["id"] for detail in world.bus.details] == [other]
    assert [line["Failures"] for line in logs if "Failures" in line] == [1]


@pytest.mark.parametrize("seed", range(20))
async def test_each_fact_has_its_event_through_crashes_and_repeated_deliveries(
    world: World, seed: int
) -> None:
    posts = [await world.ready() for _ in range(4)]
    comments = [await world.comment(post_id) for post_id in posts for _ in range(5)]
    await world.comments.remove(posts[0], comments[0].id, ALICE)
    await world.posts.remove(posts[3], ALICE)
    records = world.records()
    expected = {event.id for event in map(stream_event, records) if event is not None}
    crash = crashing(seed)
    world.bus.accepts = lambda _entry: crash()
    mapping = mapping_of(world, seed, attempts=500)
    await mapping.deliver(records)
    assert mapping.parked == []
    assert {detail["id"] for detail in world.bus.details} == expected
    assert len(expected) == 4 + 20 + 1 + 1


def crashing(seed: int) -> Callable[[], bool]:
    """A bus that accepts, refuses, or breaks the function off."""
    choices = random.Random(seed)

    def accepts() -> bool:
        choice = choices.random()
        if choice < 0.1:
            raise CrashError
        return choice > 0.3

    return accepts


async def test_many_comments_on_one_post_read_it_once_a_batch(world: World) -> None:
    post_id = await world.ready()
    for _ in range(50):
        await world.comment(post_id)
    records = world.records()
    world.table.calls.clear()
    assert await world.publisher.publish(records) == []
    assert world.table.calls["get"] == 1 + 50
    assert [len(call) for call in world.bus.calls] == [10] * 5 + [1]


async def test_a_call_has_no_more_bytes_than_any_region_takes() -> None:
    client = FakeEventBus()
    large = [BusEvent(f"{number}", "post.ready", 0, b"1" * 110_000) for number in range(5)]
    assert EventBridgeBus(client, BUS).put(large) == {}
    assert [len(call) for call in client.calls] == [2, 2, 1]
