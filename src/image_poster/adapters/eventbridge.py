"""An event bus of Amazon EventBridge.

- https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
- https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

SOURCE = "image-poster"
_MAX_ENTRIES = 10
# The entries of a call have at most 1 MB together, and 256 KB in regions without that increase.
_MAX_BYTES = 256_000
_TIME_BYTES = 14
# The delays before the second and the third try of entries that failed.
_RETRY_SECONDS = (0.2, 1.0)


class BusEvent(NamedTuple):
    """An event for a bus. `detail` is JSON, and `time_ms` the time of its fact in milliseconds
    since 1970."""

    id: str
    type: str
    time_ms: int
    detail: bytes

    @property
    def size(self) -> int:
        """Its size in bytes, as EventBridge counts it."""
        return _TIME_BYTES + len(SOURCE) + len(self.type) + len(self.detail)


class EventBridgeBus:
    """The bus of this name. `pause` waits for so many seconds."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - botocore makes clients at run time
        name: str,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._name = name
        self._pause = pause

    def put(self, events: Sequence[BusEvent]) -> dict[str, str]:
        """Put events on the bus. Returns the errors of those that it did not accept, by their
        ids."""
        errors: dict[str, str] = {}
        for batch in _batches(events):
            errors |= self._put_batch(batch)
        return errors

    def _put_batch(self, batch: list[BusEvent]) -> dict[str, str]:
        """Put the events of one call; repeat the call with those that failed, up to three times."""
        errors = self._call(batch)
        for seconds in _RETRY_SECONDS:
            if not errors:
                break
            self._pause(seconds)
            errors = self._call([event for event in batch if event.id in errors])
        return errors

    def _call(self, batch: list[BusEvent]) -> dict[str, str]:
        try:
            answer = self._client.put_events(Entries=list(map(self._entry, batch)))
        except (ClientError, BotoCoreError) as exc:
            return {event.id: str(exc) for event in batch}
        # The results are in the order of the entries.
        results = zip(batch, answer["Entries"], strict=True)
        return {event.id: _error(result) for event, result in results if "ErrorCode" in result}

    def _entry(self, event: BusEvent) -> dict[str, Any]:
        return {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": event.type,
            "Time": event.time_ms / 1000,
            "Detail": event.detail.decode(),
        }


def _error(result: dict[str, str]) -> str:
    return f"{result['ErrorCode']}: {result.get('ErrorMessage', '')}"


def _batches(events: Sequence[BusEvent]) -> Iterator[list[BusEvent]]:
    """Yield the events in the batches of calls."""
    batch: list[BusEvent] = []
    size = 0
    for event in events:
        if batch and (len(batch) == _MAX_ENTRIES or size + event.size > _MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += event.size
    if batch:
        yield batch
