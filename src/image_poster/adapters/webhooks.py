"""Signed webhooks (Standard Webhooks 1.0, https://www.standardwebhooks.com), and calls of the
review hook by such a webhook."""

import asyncio
import hmac
import time
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request

import msgspec
import structlog

from image_poster.adapters.bounded_http import bounded_opener
from image_poster.services.review import HookAnswer, HookFailedError

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix that the specification prescribes
SECRET_BYTES = 32
HOOK_SECONDS = 5
_MAX_ANSWER_BYTES = 16_384
_THREADS = 16

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


def signed_headers(secret: bytes, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a webhook, sent at `timestamp` (seconds since 1970)."""
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, webhook_id, timestamp, body),
    }


class HttpReviewHook:
    """`ReviewHook` at a URL. Calls run in threads of their own: no other work waits for them."""

    def __init__(self, url: str, secret: bytes) -> None:
        self._url = url
        self._secret = secret
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="review-hook")

    async def ask(self, webhook_id: str, body: bytes) -> HookAnswer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._ask, webhook_id, body)

    def close(self) -> None:
        """End the threads; a call that runs ends by its timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, webhook_id: str, body: bytes) -> HookAnswer:
        headers = signed_headers(self._secret, webhook_id, int(time.time()), body)
        request = Request(self._url, body, headers, method="POST")  # noqa: S310 - checked at the start
        try:
            return _exchange(request)
        except (OSError, HTTPException, ValueError) as exc:
            _log.warning("the review hook failed", webhook_id=webhook_id, error=str(exc))
            raise HookFailedError(str(exc)) from exc


def _exchange(request: Request) -> HookAnswer:
    """The answer to one request. Raises `OSError`, `HTTPException` and `ValueError`."""
    try:
        with bounded_opener(HOOK_SECONDS).open(request) as answer:
            content, status = answer.read(_MAX_ANSWER_BYTES + 1), answer.status
    except HTTPError as exc:
        exc.close()
        raise ValueError(f"the status is {exc.code}") from exc
    if status != HTTPStatus.OK or len(content) > _MAX_ANSWER_BYTES:
        raise ValueError(f"the status is {status}, with {len(content)} bytes")
    return msgspec.json.decode(content, type=HookAnswer)
