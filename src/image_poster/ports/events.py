"""Events that wait for their delivery, and the sender of webhooks.

`Outbox` has a single adapter, SQLite, because the AWS edition has no outbox: there, EventBridge
delivers the events of the table's stream (docs/aws.md). Services may not import adapters.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from image_poster.domain.events import Event


class Endpoint(NamedTuple):
    """A receiver of webhooks. `is_off`: it answered 410, so nothing is sent until a replay."""

    id: int
    url: str
    is_off: bool


class WaitingEvent(NamedTuple):
    """An event that waits for its delivery to one endpoint.

    `row` identifies it in the outbox, `id` is its `webhook-id`. `occurred_ms` is the wall clock's
    time of the fact, `since_ms` the service clock's; `tries` counts failed tries. `trace` is the
    `traceparent` of the fact's request, if it was traced.
    """

    row: int
    id: str
    event: Event
    occurred_ms: int
    since_ms: int
    tries: int
    trace: str | None = None


class EndpointReport(NamedTuple):
    """An endpoint as operators see it. `oldest_ms` is the time of its oldest waiting event, and
    `failed_ms` that of its newest failed try, by the wall clock. `last_error` is the error of this
    try. `dropped` counts the events deleted beyond the bounds since the last replay."""

    endpoint: Endpoint
    is_configured: bool
    waiting: int
    parked: int
    dropped: int
    oldest_ms: int | None
    last_error: str | None
    failed_ms: int | None


class Outbox(Protocol):
    """The endpoints, and the events that wait for each. Every transaction that stores a fact adds
    the fact's event for each configured endpoint, if there is one."""

    async def configure(self, urls: Sequence[str]) -> None:
        """Make these URLs the endpoints. Events of a former endpoint wait three days for its
        return; no new ones are added."""
        ...

    def endpoints(self) -> list[Endpoint]:
        """The configured endpoints, in the order of their ids."""
        ...

    def due(self, endpoint_id: int, limit: int) -> list[WaitingEvent]:
        """At most `limit` events that are due by the service clock, earliest first; none for an
        endpoint that is off."""
        ...

    async def complete(self, event: WaitingEvent) -> None:
        """Remove an event that was delivered."""
        ...

    async def retry(self, endpoint_id: int, event: WaitingEvent, delay_ms: int, error: str) -> None:
        """Count a failed try; the next one is due in `delay_ms`."""
        ...

    async def park(self, endpoint_id: int, event: WaitingEvent, error: str) -> None:
        """Count the last failed try, and keep the event until a replay."""
        ...

    async def switch_off(self, endpoint_id: int, error: str) -> None:
        """Send nothing more to this endpoint until a replay. Its events wait."""
        ...

    async def replay(self) -> int:
        """Make all parked events, and all that had a failed try, due now, as if they were new.
        Switch all endpoints on, and begin anew to count dropped events. Returns the number of these
        events."""
        ...

    async def enforce_bounds(self) -> int:
        """Delete the oldest events of each endpoint beyond its bounds, and those of former
        endpoints after three days. Returns how many were deleted beyond the bounds."""
        ...

    async def reports(self) -> list[EndpointReport]:
        """All endpoints that are configured or have events."""
        ...


class DeliveryFailedError(Exception):
    """The receiver was not reached, took too long, or did not answer with 2xx."""


class EndpointGoneError(DeliveryFailedError):
    """The receiver answered 410: it wants no more events."""


class WebhookSender(Protocol):
    """Sends webhooks. No send waits for another one."""

    async def send(self, url: str, webhook_id: str, body: bytes) -> None:
        """Send a webhook once. Raises `DeliveryFailedError` and `EndpointGoneError`."""
        ...
