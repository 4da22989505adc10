"""`image-poster webhooks`: an operator's view of the endpoints, beside a running server or without
one."""

from functools import partial
from typing import NamedTuple

from image_poster.adapters.webhooks import HttpWebhookSender, encoded_secret
from image_poster.domain.events import PING, new_event_id
from image_poster.editions import StartError
from image_poster.editions.local import data_folder, keys
from image_poster.editions.local.container import Container, run_in_container
from image_poster.editions.local.settings import Settings
from image_poster.ports.events import DeliveryFailedError, EndpointReport
from image_poster.services.events import event_body

_NO_ENDPOINT = (
    "there is no endpoint: start the server with `--webhook URL`, which may be repeated "
    "(docs/webhooks.md)."
)


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
