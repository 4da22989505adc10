"""The readiness check of the table: it writes one item."""

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
    """Checks that the table accepts writes, by writing one item, as a comment is one item. Each
    process writes it at most once a second; all callers within that second share the result.
    `now` returns seconds."""

    def __init__(self, table: database.Table, now: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._now = now
        self._key = schema.probe_key(secrets.randbelow(_PROBES))
        self._asked_at: float | None = None
        self._refusal: Exception | None = None

    async def check(self) -> None:
        """Raises `NotReadyError` if the table does not accept writes."""
        now = self._now()
        if self._asked_at is None or now - self._asked_at >= _PROBE_SECONDS:
            self._refusal = await self._written()
            self._asked_at = now
        if self._refusal is not None:
            raise NotReadyError from self._refusal

    async def _written(self) -> Exception | None:
        """Write the probe. Returns the error, also that of a missing table or permission."""
        probe = database.Update(self._key, put={"at_ms": time.time_ns() // 1_000_000})
        try:
            await self._table.write(probe)
        except database.ConflictError:
            return None  # somebody else's was
        except (BusyError, ClientError) as exc:
            return exc
        return None
