"""Trying again what met with somebody else's write."""

import asyncio
import random
from collections.abc import AsyncIterator

from image_poster.domain.errors import BusyError

_MOST = 12
_FIRST_SECONDS = 0.01
_LONGEST_SECONDS = 0.5


async def attempts() -> AsyncIterator[int]:
    """A number of attempts, with growing pauses of random length between them, since who meets once
    should not meet again; then `BusyError`."""
    for attempt in range(_MOST):
        yield attempt
        longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2**attempt)
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - no secret
    raise BusyError
