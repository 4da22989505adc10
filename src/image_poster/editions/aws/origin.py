"""The secret by which the API recognizes requests from CloudFront.

It can be exchanged without an outage. CloudFront's edges begin to send a new value one after the
other, over some minutes, and environments of the Lambda live for hours. So both the current and the
previous value are accepted, and an environment reads them again:

- when a request has neither, at most once a minute, since any client can send such a request;
- every 15 minutes, so that a value that was withdrawn ends.

https://docs.aws.amazon.com/secretsmanager/latest/userguide/getting-started.html, "Version"
"""

import time
from collections.abc import Callable, Collection
from hmac import compare_digest

import structlog

_AFTER_MISMATCH_SECONDS = 60.0
_MAX_AGE_SECONDS = 900.0
_log = structlog.get_logger()


class OriginSecrets:
    """The accepted values. `read` reads them from Secrets Manager; `now` returns seconds."""

    def __init__(
        self, read: Callable[[], Collection[str]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._now = now
        self._values = read()
        self._read_at = now()

    def accepts(self, value: str) -> bool:
        """True if a request with this value came through CloudFront."""
        if self._age() >= _MAX_AGE_SECONDS:
            self._refresh()
        if self._matches(value):
            return True
        if self._age() < _AFTER_MISMATCH_SECONDS:
            return False
        self._refresh()
        return self._matches(value)

    def _matches(self, value: str) -> bool:
        sent = value.encode()
        return any(compare_digest(sent, accepted.encode()) for accepted in self._values)

    def _age(self) -> float:
        return self._now() - self._read_at

    def _refresh(self) -> None:
        """Read the values again. If that fails, the former ones stay in force."""
        self._read_at = self._now()
        try:
            self._values = self._read()
        except Exception:  # noqa: BLE001 - the API goes on with what it knows
            _log.exception("the origin secret cannot be read", service="api")
