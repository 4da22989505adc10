"""EventBridge in memory, as far as the service uses it."""

import json
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

Entry = dict[str, Any]
MAX_ENTRIES, MAX_CALL_BYTES = 10, 1_000_000
THROTTLED = {"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"}


def accept(_entry: Entry) -> bool:
    """A bus that accepts each entry."""
    return True


class FakeEventBus:
    """The client of one bus. `accepts` is asked for each entry; a call fails as a whole while
    `is_down`."""

    def __init__(self, accepts: Callable[[Entry], bool] = accept) -> None:
        self.accepts = accepts
        self.is_down = False
        self.calls: list[list[Entry]] = []
        self.entries: list[Entry] = []

    def put_events(self, *, Entries: list[Entry]) -> dict[str, Any]:  # noqa: N803
        assert 0 < len(Entries) <= MAX_ENTRIES
        assert sum(len(entry["Detail"].encode()) for entry in Entries) < MAX_CALL_BYTES
        self.calls.append(Entries)
        if self.is_down:
            raise ClientError({"Error": {"Code": "InternalException"}}, "PutEvents")
        results = [self._result(entry) for entry in Entries]
        failures = sum("ErrorCode" in result for result in results)
        return {"FailedEntryCount": failures, "Entries": results}

    def _result(self, entry: Entry) -> dict[str, str]:
        if not self.accepts(entry):
            return THROTTLED
        self.entries.append(entry)
        return {"EventId": f"{len(self.entries)}"}

    @property
    def details(self) -> list[Any]:
        """The details of the accepted entries, in their order."""
        return [json.loads(entry["Detail"]) for entry in self.entries]
