"""Webhooks of one machine: the work that delivers events, and the operators' view of the endpoints
(`image-poster webhooks`)."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog

from image_poster.adapters.sqlite.events import SqliteOutbox
from image_poster.adapters.webhooks import HttpWebhookSender, encoded_secret
from image_poster.domain.events import PING, new_event_id
from image_poster.editions import StartError
from image_poster.editions.local import data_folder, keys
from image_poster.editions.local.container import Container, run_in_container
from image_poster.editions.local.maintenance import repeat_step
from image_poster.editions.local.settings import Settings
from image_poster.http import metrics
from image_poster.ports.events import DeliveryFailedError, EndpointReport
from image_poster.services.events import (
    PARALLEL_TRIES,
    DeliveryOutcome,
    EndpointQueue,
    EventDelivery,
    event_body,
)

_OUTBOX_SECONDS = 60.0
_FAILING = "a receiver of webhooks fails: `image-poster webhooks` has its error"
_NO_ENDPOINT = (
    "there is no endpoint: start the server with `--webhook URL`, which may be repeated "
    "(docs/webhooks.md)."
)


_log = structlog.get_logger()


class PingResult(NamedTuple):
    """The result of a `ping` to one endpoint. `error` is None if it was accepted."""

    url: str
    error: str | None


def read_secret(settings: Settings, *, rotate: bool) -> str:
    """The secret of receivers, after a rotation if `rotate`. Raises `StartError`."""
    data_folder.enter_with_database(settings.data_dir)
    if rotate:
        keys.rotate_webhook_secret(settings.data_dir)
    return encoded_secret(keys.webhook_secrets(settings.data_dir)[0])


def report_endpoints(settings: Settings) -> list[EndpointReport]:
    """All endpoints, with their waiting and parked events. Raises `StartError`."""

    async def report(container: Container) -> list[EndpointReport]:
        return await container.outbox.reports()

    return run_in_container(settings, report)


def replay(settings: Settings) -> int:
    """Send parked events again, and switch all endpoints on. Returns the number of events. Raises
    `StartError`."""

    async def make_due(container: Container) -> int:
        return await container.outbox.replay()

    return run_in_container(settings, make_due)


def ping(settings: Settings) -> list[PingResult]:
    """Send a `ping` to each configured endpoint, once. Raises `StartError`, also without an
    endpoint."""

    async def send(container: Container) -> list[PingResult]:
        sender = HttpWebhookSender(partial(keys.webhook_secrets, settings.data_dir))
        body = event_body(PING, container.clock.now_ms(), {})
        results = []
        for endpoint in container.outbox.endpoints():
            try:
                await sender.send(endpoint.url, new_event_id(), body)
                results.append(PingResult(endpoint.url, None))
            except DeliveryFailedError as exc:
                results.append(PingResult(endpoint.url, str(exc)))
        return results

    results = run_in_container(settings, send)
    if not results:
        raise StartError(_NO_ENDPOINT)
    return results


def deliver_events(container: Container) -> list[Coroutine[None, None, None]]:
    """The work that delivers events to each endpoint, and that which bounds their number."""
    delivery, work = container.event_delivery, [watch_outbox(container.outbox)]
    for endpoint in container.outbox.endpoints():
        worker = EndpointWorker(delivery, EndpointQueue(container.outbox, endpoint))
        work += [repeat_step("delivering events", worker.try_next) for _ in range(PARALLEL_TRIES)]
    return work


class EndpointWorker:
    """Tries the events of one endpoint, and reports when it begins to fail, and when it works
    again."""

    def __init__(self, delivery: EventDelivery, queue: EndpointQueue) -> None:
        self._delivery = delivery
        self._queue = queue
        self._is_failing = False

    async def try_next(self) -> None:
        """Wait until an event is due, try it, and count the outcome."""
        outcome = await self._queue.try_next(self._delivery)
        metrics.webhooks.labels(outcome).inc()
        is_failing = outcome is not DeliveryOutcome.DELIVERED
        if is_failing != self._is_failing:
            self._is_failing = is_failing
            host = urlsplit(self._queue.endpoint.url).hostname
            if is_failing:
                _log.warning(_FAILING, endpoint=self._queue.endpoint.id, host=host, outcome=outcome)
            else:
                _log.info("webhooks arrive again", endpoint=self._queue.endpoint.id, host=host)


async def watch_outbox(outbox: SqliteOutbox) -> None:
    """Bound the number of waiting events, and measure it."""

    async def step() -> None:
        dropped = await outbox.enforce_bounds()
        if dropped:
            _log.error("the oldest events were deleted: too many wait for delivery", events=dropped)
        for report in await outbox.reports():
            name = str(report.endpoint.id)
            metrics.events.labels(name, "waiting").set(report.waiting)
            metrics.events.labels(name, "parked").set(report.parked)
            metrics.events.labels(name, "dropped").set(report.dropped)
        await asyncio.sleep(_OUTBOX_SECONDS)

    await repeat_step("bounding events", step)
