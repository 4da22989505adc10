"""Events on the stack's event bus, derived from the records of the table's stream.

A record gives at most one event, with an id that is a hash of the record's key and sequence number.
So a record that is delivered twice gives the same id twice. A function of its own reads the stream
for them, so a bus that fails delays no count (docs/decisions/0045-second-stream-consumer.md).
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import structlog

from image_poster.adapters.dynamodb import accounts, entries, schema
from image_poster.adapters.dynamodb.comments import DynamoCommentStore
from image_poster.adapters.dynamodb.database import Item, Key, decoded_item
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.standing import DELETING
from image_poster.adapters.dynamodb.stream import record_time_ms
from image_poster.adapters.eventbridge import BusEvent, EventBridgeBus
from image_poster.domain.events import Event, EventType, type_of_change
from image_poster.domain.ids import rfc3339
from image_poster.domain.limits import LATEST_DEFAULT
from image_poster.domain.posts import PostStatus, StoredPost
from image_poster.editions.aws.container import AwsContainer, LazyClient
from image_poster.editions.logs import emf
from image_poster.http.comments import comment_body
from image_poster.http.post_bodies import post_body
from image_poster.ports import Clock
from image_poster.services.events import EventRenderer

_MAX_LOGGED = 20
# Times of stream records are whole seconds.
_RECORD_MS = 1000
_log = structlog.get_logger()


class StreamEvent(NamedTuple):
    """The event of a stream record. `time_ms` is the record's time (None: unknown)."""

    id: str
    event: Event
    time_ms: int | None


def stream_event(record: dict[str, Any]) -> StreamEvent | None:
    """The event of a stream record; None if it has none."""
    change = record["dynamodb"]
    key = schema.key_of(decoded_item(change["Keys"]))
    old = decoded_item(change.get("OldImage", {}))
    new = decoded_item(change.get("NewImage", {}))
    # Removals have no events: posts and comments are marked as deleted before. Only an upload that
    # never got its bytes expires.
    event = _event(key, old, new) if new else None
    if event is None:
        return None
    digest = hashlib.sha256(msgspec.json.encode((key, change["SequenceNumber"]))).hexdigest()
    time_ms = record_time_ms(change.get("ApproximateCreationDateTime"))
    return StreamEvent(f"evt_{digest[:32]}", event, time_ms)


def _event(key: Key, old: Item, new: Item) -> Event | None:
    """The event of an item that is new or changed."""
    if key.sk == schema.POST:
        return _post_event(schema.post_id_of(key), old, new)
    if key.sk.startswith(schema.COMMENT):
        return _comment_event(key, old, new)
    if key.sk.startswith(accounts.REPORT):
        return None if old else _report_event(new)
    if key.sk.startswith(entries.STATE):
        return None if old.get("last") == new["last"] else _decision_event(new)
    if key.sk == schema.ACCOUNT and DELETING in new and DELETING not in old:
        return Event(EventType.USER_DELETED, user=schema.user_of(key))
    return None


def _post_event(post_id: str, old: Item, new: Item) -> Event | None:
    before, after = old.get("status"), new["status"]
    if before in {None, after, schema.DELETED}:
        return None
    former = PostStatus(str(before))
    if after != schema.DELETED:
        type_ = type_of_change(former, PostStatus(str(after)))
    else:
        type_ = None if former is PostStatus.AWAITING_UPLOAD else EventType.POST_DELETED
    return None if type_ is None else Event(type_, post_id)


def _comment_event(key: Key, old: Item, new: Item) -> Event | None:
    ids = schema.post_id_of(key), key.sk.removeprefix(schema.COMMENT)
    if not old:
        return Event(EventType.COMMENT_CREATED, *ids)
    is_deletion = "deleted_by" in new and "deleted_by" not in old
    return Event(EventType.COMMENT_DELETED, *ids) if is_deletion else None


def _report_event(item: Item) -> Event:
    report = accounts.stored_report_of(item).report
    return Event(EventType.REPORT_CREATED, report.post_id, report.comment_id, report.id)


def _decision_event(item: Item) -> Event:
    decision = entries.decision_of(item["last"])
    ids = decision.post_id, decision.comment_id, decision.id, decision.user
    return Event(EventType.DECISION_MADE, *ids)


@dataclass(frozen=True)
class _BatchPosts:
    """The posts of one batch, each read once. So many comments on one post do not read it so often
    that its partition is throttled."""

    store: DynamoPostStore
    _posts: dict[str, StoredPost | None] = field(default_factory=dict)

    async def find(self, post_id: str) -> StoredPost | None:
        if post_id not in self._posts:
            self._posts[post_id] = await self.store.find(post_id)
        return self._posts[post_id]


def _shown_post(stored: StoredPost) -> bytes:
    """The post as `GET /posts/{id}` shows it."""
    return post_body(stored, LATEST_DEFAULT)


@dataclass(frozen=True)
class EventPublisher:
    """Puts the events of stream records on the bus, at least once."""

    posts: DynamoPostStore
    comments: DynamoCommentStore
    bus: EventBridgeBus
    clock: Clock

    async def publish(self, records: list[dict[str, Any]]) -> list[str]:
        """Put the events of a batch. Returns the sequence numbers of the records whose events could
        not be put, and which must be delivered again."""
        posts = _BatchPosts(self.posts)
        renderer = EventRenderer(posts, self.comments, _shown_post, comment_body)
        failed: list[str] = []
        events: dict[str, BusEvent] = {}
        for record in records:
            number = str(record["dynamodb"]["SequenceNumber"])
            try:
                event = await self._bus_event(record, renderer)
            except Exception:  # noqa: BLE001 - the events of other records are put
                _log_failure("event not read", [number])
                failed.append(number)
            else:
                if event is not None:
                    events[number] = event
        errors = self._put(list(events.values()))
        return failed + [number for number, event in events.items() if event.id in errors]

    async def _bus_event(self, record: dict[str, Any], renderer: EventRenderer) -> BusEvent | None:
        """The event of a record as the bus takes it, from the state of now. Raises `BusyError`."""
        change = stream_event(record)
        if change is None or await self._went_with_post(change):
            return None
        time_ms = self.clock.now_ms() if change.time_ms is None else change.time_ms
        detail = {
            "id": change.id,
            "type": change.event.type,
            "timestamp": rfc3339(time_ms),
            "data": await renderer.data(change.event),
        }
        return BusEvent(change.id, change.event.type, time_ms, msgspec.json.encode(detail))

    async def _went_with_post(self, change: StreamEvent) -> bool:
        """True for the deletion of a comment whose post was deleted before: deleting a post sends
        no events of its comments."""
        post_id = change.event.post_id
        if change.event.type is not EventType.COMMENT_DELETED or post_id is None:
            return False
        if not await self.posts.was_deleted(post_id):
            return False
        deleted_ms = await self.posts.unpublished_since(post_id)
        if deleted_ms is None or change.time_ms is None:
            return True
        return deleted_ms < change.time_ms + _RECORD_MS

    def _put(self, events: list[BusEvent]) -> dict[str, str]:
        errors = self.bus.put(events) if events else {}
        if errors:
            _log_failure("events not put", list(errors), error=next(iter(errors.values())))
        if len(errors) < len(events):
            metric = {"Events": len(events) - len(errors), "_aws": emf(Events="Count")}
            _log.info("events put", service="events", **metric)
        return errors


def _log_failure(message: str, names: list[str], *, error: str | None = None) -> None:
    """Log events that failed, with the metric of their alarm, and the error in progress if none is
    given."""
    metric = {"Failures": len(names), "_aws": emf(Failures="Count")}
    about = {"service": "events", "events": names[:_MAX_LOGGED], **metric}
    if error is None:
        _log.exception(message, **about)
    else:
        _log.error(message, error=error, **about)


def event_publisher(aws: AwsContainer) -> EventPublisher:
    """The publisher of a stack's events, by its settings."""
    bus = EventBridgeBus(LazyClient("events"), aws.settings.event_bus)
    comments = DynamoCommentStore(aws.table, aws.clock)
    return EventPublisher(aws.posts(), comments, bus, aws.clock)
