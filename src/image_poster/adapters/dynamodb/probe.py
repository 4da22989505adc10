"""Whether the table takes writes."""

import secrets
import time
from collections.abc import Callable

from botocore.exceptions import ClientError

from image_poster.adapters.dynamodb import database, schema
from image_poster.domain.errors import BusyError, NotReadyError

_PROBE_SECONDS = 1.0
# Processes write items of their own, mostly: one item takes 1,000 writes a second.
_PROBES = 64


class DynamoWriteProbe:
    """Tells whether a comment would be taken, as far as that can be known before: by writing one
    item, as a comment is one. It is written at most once a second in each process, however many
    ask; all of them share what came of it. `now` are seconds."""

    def __init__(self, table: database.Table, now: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._now = now
        self._key = schema.probe_key(secrets.randbelow(_PROBES))
        self._asked_at: float | None = None
        self._refusal: Exception | None = None

    async def check(self) -> None:
        """Raises `NotReadyError`."""
        now = self._now()
        if self._asked_at is None or now - self._asked_at >= _PROBE_SECONDS:
            self._refusal = await self._written()
            self._asked_at = now
        if self._refusal is not None:
            raise NotReadyError from self._refusal

    async def _written(self) -> Exception | None:
        """What kept it from being written: also a right that is missing, or the table."""
        probe = database.Update(self._key, put={"at_ms": time.time_ns() // 1_000_000})
        try:
            await self._table.write(probe)
        except database.ConflictError:
            return None  # somebody else's was
        except (BusyError, ClientError) as exc:
            return exc
        return None
