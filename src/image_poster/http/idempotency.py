"""The header `Idempotency-Key`: read it, and refuse a second request while the first one runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from image_poster.domain.errors import RequestInProgressError
from image_poster.domain.idempotency import HEADER, checked_key
from image_poster.domain.identity import Identity
from image_poster.http.requests import AnyRequest


class InFlight:
    """The requests with a key that this process is handling now.

    A request is added once its body is complete. Until then its client may be gone, and its retry
    must not be refused. Between processes the store decides: the second request finds the
    idempotency record of the first.
    """

    def __init__(self) -> None:
        self._running: set[tuple[str, str]] = set()

    @contextmanager
    def running(self, caller: Identity, key: str | None) -> Iterator[None]:
        """Mark the key as in use until the request ends. Raises `RequestInProgressError` if it
        already is."""
        if key is None:
            yield
            return
        entry = (caller.user, key)
        if entry in self._running:
            raise RequestInProgressError
        self._running.add(entry)
        try:
            yield
        finally:
            self._running.discard(entry)


def in_flight(request: AnyRequest) -> InFlight:
    """The `InFlight` of this process."""
    found: InFlight = request.app.state.in_flight
    return found


def idempotency_key(request: AnyRequest) -> str | None:
    """The request's key. Raises `ValidationFailedError` for an invalid one."""
    key = request.headers.get(HEADER)
    return None if key is None else checked_key(key)
