"""`Idempotency-Key`: reading it, and refusing what is still running."""

from collections.abc import Iterator
from contextlib import contextmanager

from image_poster.domain.errors import RequestInProgressError
from image_poster.domain.idempotency import HEADER, checked_key
from image_poster.domain.identity import Identity
from image_poster.http.requests import AnyRequest


class InFlight:
    """The keyed requests that this process is carrying out right now.

    A request enters once its body is there: while that is still coming in, its client may long be
    gone, and must not lock itself out. Two at once in different processes are told apart by the
    store, where the second finds the idempotency record of the first.
    """

    def __init__(self) -> None:
        self._running: set[tuple[str, str]] = set()

    @contextmanager
    def running(self, caller: Identity, key: str | None) -> Iterator[None]:
        """For as long as the request runs; raises `RequestInProgressError` if one does already."""
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
    """The requests of this process."""
    found: InFlight = request.app.state.in_flight
    return found


def idempotency_key(request: AnyRequest) -> str | None:
    """The request's key; raises `ValidationFailedError` if it is none."""
    key = request.headers.get(HEADER)
    return None if key is None else checked_key(key)
