"""The delivery of events to receivers of webhooks (Standard Webhooks 1.0): at least once, each try
with the same id. https://github.com/standard-webhooks/standard-webhooks"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec

from image_poster.domain.errors import CommentNotFoundError
from image_poster.domain.events import (
    MAX_ERROR_CHARACTERS,
    Event,
    EventType,
    retry_delay_ms,
)
from image_poster.domain.ids import rfc3339
from image_poster.domain.posts import PostStatus, StoredPost
from image_poster.ports import Clock
from image_poster.ports.comments import CommentStore
from image_poster.ports.events import (
    DeliveryFailedError,
    Endpoint,
    EndpointGoneError,
    Outbox,
    WaitingEvent,
    WebhookSender,
)
from image_poster.ports.tracing import NULL_TRACER, Tracer

# The tries of one endpoint at a time.
PARALLEL_TRIES = 8
_READ_AT_A_TIME = 8 * PARALLEL_TRIES
_POLL_SECONDS = 0.25
# After each failure in a row, the endpoint's tries wait this much longer, up to the maximum. Else
# tries that fail at once would use the processor for all of many waiting events.
_FAILURE_PAUSE_SECONDS, _MAX_FAILURE_PAUSE_SECONDS = 0.05, 1.0


class DeliveryOutcome(StrEnum):
    """The result of one try."""

    DELIVERED = "delivered"
    FAILED = "failed"
    PARKED = "parked"
    ENDPOINT_OFF = "endpoint_off"


def event_body(type_: str, occurred_ms: int, data: object) -> bytes:
    """The body of a webhook (Standard Webhooks 1.0, "Payload structure"). `occurred_ms` is the time
    of the fact in milliseconds since 1970."""
    return msgspec.json.encode({"type": type_, "timestamp": rfc3339(occurred_ms), "data": data})


class PostFinder(Protocol):
    """The part of `PostStore` that events need."""

    async def find(self, post_id: str) -> StoredPost | None:
        """The post with its latest comments, or None."""
        ...


@dataclass(frozen=True)
class EventRenderer:
    """Encodes events. `data` is the resource as everybody sees it, or its ids if nobody else may
    see it or it is gone. `render_post` and `render_comment` encode stored documents."""

    posts: PostFinder
    comments: CommentStore
    render_post: Callable[[StoredPost], bytes]
    render_comment: Callable[[bytes], bytes]

    async def body(self, event: Event, occurred_ms: int) -> bytes:
        """The body of the webhook, from the state of now."""
        return event_body(event.type, occurred_ms, await self.data(event))

    async def data(self, event: Event) -> object:
        """The member `data` of the event, from the state of now."""
        if not event.shows_resource or event.post_id is None:
            return event.ids()
        stored = await self.posts.find(event.post_id)
        if stored is None or stored.post.status is not PostStatus.READY:
            return event.ids()
        if event.type != EventType.COMMENT_CREATED:
            return msgspec.Raw(self.render_post(stored))
        try:
            document = await self.comments.find(event.post_id, event.comment_id or "")
        except CommentNotFoundError:
            return event.ids()
        return msgspec.Raw(self.render_comment(document))


@dataclass(frozen=True)
class EventDelivery:
    """Tries to deliver waiting events, and stores the result of each try."""

    outbox: Outbox
    renderer: EventRenderer
    sender: WebhookSender
    clock: Clock
    random: Callable[[], float] = random.random
    tracer: Tracer = NULL_TRACER

    async def try_once(self, endpoint: Endpoint, waiting: WaitingEvent) -> DeliveryOutcome:
        """Send one event to one endpoint, within a span of the fact's trace.

        Any error is a failed try, such as that of a damaged post: else the event would be tried
        again without a delay.
        """
        try:
            body = await self.renderer.body(waiting.event, waiting.occurred_ms)
            with self.tracer.span("webhook", waiting.trace):
                await self.sender.send(endpoint.url, waiting.id, body)
        except EndpointGoneError as exc:
            await self.outbox.switch_off(endpoint.id, _short(exc))
            return DeliveryOutcome.ENDPOINT_OFF
        except DeliveryFailedError as exc:
            return await self._store_failure(endpoint.id, waiting, _short(exc))
        except Exception as exc:  # noqa: BLE001 - see above
            error = f"{type(exc).__name__}: {exc}"[:MAX_ERROR_CHARACTERS]
            return await self._store_failure(endpoint.id, waiting, error)
        await self.outbox.complete(waiting)
        return DeliveryOutcome.DELIVERED

    async def _store_failure(
        self, endpoint_id: int, waiting: WaitingEvent, error: str
    ) -> DeliveryOutcome:
        age_ms = self.clock.service_ms() - waiting.since_ms
        delay_ms = retry_delay_ms(waiting.tries + 1, age_ms, self.random())
        if delay_ms is None:
            await self.outbox.park(endpoint_id, waiting, error)
            return DeliveryOutcome.PARKED
        await self.outbox.retry(endpoint_id, waiting, delay_ms, error)
        return DeliveryOutcome.FAILED


def _short(error: Exception) -> str:
    return str(error)[:MAX_ERROR_CHARACTERS]


@dataclass
class EndpointQueue:
    """The due events of one endpoint, for its parallel tries: none is tried twice at a time.
    `pause` takes seconds."""

    outbox: Outbox
    endpoint: Endpoint
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    _read: list[WaitingEvent] = field(default_factory=list)
    _in_progress: set[int] = field(default_factory=set)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _failures: int = 0

    async def try_next(self, delivery: EventDelivery) -> DeliveryOutcome:
        """Wait until an event is due, and try to deliver it."""
        event = await self._next()
        try:
            outcome = await delivery.try_once(self.endpoint, event)
        finally:
            self._in_progress.discard(event.row)
        if outcome is DeliveryOutcome.ENDPOINT_OFF:
            self._read.clear()
        await self._pause_after(outcome)
        return outcome

    async def _pause_after(self, outcome: DeliveryOutcome) -> None:
        if outcome is DeliveryOutcome.DELIVERED:
            self._failures = 0
            return
        self._failures += 1
        seconds = self._failures * _FAILURE_PAUSE_SECONDS
        await self.pause(min(seconds, _MAX_FAILURE_PAUSE_SECONDS))

    async def _next(self) -> WaitingEvent:
        """The next due event. Of several waiting callers, one looks for it."""
        async with self._lock:
            while not self._read:
                limit = _READ_AT_A_TIME + len(self._in_progress)
                due = self.outbox.due(self.endpoint.id, limit)
                self._read = [event for event in due if event.row not in self._in_progress][::-1]
                if not self._read:
                    await self.pause(_POLL_SECONDS)
            event = self._read.pop()
            self._in_progress.add(event.row)
            return event
