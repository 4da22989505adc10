"""Signed webhooks (Standard Webhooks 1.0, https://www.standardwebhooks.com): events for receivers,
and calls of the review hook.

Each request runs in a thread of its own, with a deadline for the whole exchange. A stop of the
service does not wait for these threads.
"""

import asyncio
import hmac
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import Request

import msgspec
import structlog

from image_poster.adapters.bounded_http import open_within
from image_poster.domain.events import TRY_SECONDS
from image_poster.ports.events import DeliveryFailedError, EndpointGoneError
from image_poster.services.review import HookAnswer, HookFailedError

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix that the specification prescribes
SECRET_BYTES = 32
HOOK_SECONDS = 5
_MAX_ANSWER_BYTES = 16_384

# The secrets of now, the current one first: a rotation needs no restart.
Secrets = Callable[[], Sequence[bytes]]
Result = TypeVar("Result")

_log = structlog.get_logger()


def encoded_secret(secret: bytes) -> str:
    """The secret as receivers configure it ("Signature scheme")."""
    return SECRET_PREFIX + b64encode(secret).decode()


def decoded_secret(text: str) -> bytes:
    """The secret in a text of `encoded_secret`. Raises `ValueError`."""
    return b64decode(text.strip().removeprefix(SECRET_PREFIX), validate=True)


def signature(secret: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: HMAC-SHA256 over id, timestamp and body."""
    signed = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
    return "v1," + b64encode(hmac.digest(secret, signed, "sha256")).decode()


def signed_headers(
    secrets: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The headers of a webhook, sent at `timestamp` (seconds since 1970). Each secret signs it."""
    signatures = [signature(secret, webhook_id, timestamp, body) for secret in secrets]
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _signed_request(url: str, secrets: Secrets, webhook_id: str, body: bytes) -> Request:
    headers = signed_headers(secrets(), webhook_id, int(time.time()), body)
    return Request(url, body, headers, method="POST")  # noqa: S310 - checked at the start


async def run_in_thread(work: Callable[[], Result]) -> Result:
    """The result of blocking work in a new thread. A cancellation, and the end of the program,
    leave the thread to itself."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Result] = loop.create_future()

    def set_result(value: Result | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except Exception as exc:  # noqa: BLE001 - the caller must get it
            error = exc
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(set_result, value, error)

    threading.Thread(target=run, name="webhook", daemon=True).start()
    return await answer


class HttpWebhookSender:
    """`WebhookSender` over HTTP. Only the status of an answer is read; a redirect is an error."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def send(self, url: str, webhook_id: str, body: bytes) -> None:
        await run_in_thread(lambda: self._send(url, webhook_id, body))

    def _send(self, url: str, webhook_id: str, body: bytes) -> None:
        request = _signed_request(url, self._secrets, webhook_id, body)
        try:
            with open_within(request, TRY_SECONDS) as answer:
                answer.close()
        except HTTPError as exc:
            exc.close()
            gone = exc.code == HTTPStatus.GONE
            failure = EndpointGoneError if gone else DeliveryFailedError
            raise failure(f"the status is {exc.code}") from exc
        except (OSError, HTTPException, ValueError) as exc:
            raise DeliveryFailedError(str(exc) or type(exc).__name__) from exc


class HttpReviewHook:
    """`ReviewHook` at a URL."""

    def __init__(self, url: str, secrets: Secrets) -> None:
        self._url = url
        self._secrets = secrets

    async def ask(self, webhook_id: str, body: bytes) -> HookAnswer:
        return await run_in_thread(lambda: self._ask(webhook_id, body))

    def _ask(self, webhook_id: str, body: bytes) -> HookAnswer:
        try:
            return _exchange(_signed_request(self._url, self._secrets, webhook_id, body))
        except (OSError, HTTPException, ValueError) as exc:
            _log.warning("the review hook failed", webhook_id=webhook_id, error=str(exc))
            raise HookFailedError(str(exc)) from exc


def _exchange(request: Request) -> HookAnswer:
    """The answer to one request. Raises `OSError`, `HTTPException` and `ValueError`."""
    try:
        with open_within(request, HOOK_SECONDS) as answer:
            content, status = answer.read(_MAX_ANSWER_BYTES + 1), answer.status
    except HTTPError as exc:
        exc.close()
        raise ValueError(f"the status is {exc.code}") from exc
    if status != HTTPStatus.OK or len(content) > _MAX_ANSWER_BYTES:
        raise ValueError(f"the status is {status}, with {len(content)} bytes")
    return msgspec.json.decode(content, type=HookAnswer)
