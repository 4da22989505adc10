"""The Lambda that applies the changes in the table's stream: counts, image work to start, deleted
posts to purge, and users' usage.

`ReportBatchItemFailures`: the response names the first record of each post whose changes could not
be applied. Everything from the first of these on is delivered again
(https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).
"""

from image_poster.editions.aws import cold_start  # isort: split

import asyncio
from typing import Any

from image_poster.editions.aws import container
from image_poster.editions.aws.changes import apply_batch, tell_users
from image_poster.editions.aws.settings import read_settings
from image_poster.editions.logs import configure

_settings = read_settings()
configure("json", stack=_settings.stack)
_applier = container.change_applier(_settings)
_counter = container.usage_recorder(_settings)
_loop = asyncio.new_event_loop()
cold_start.over()


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Apply a batch of records."""
    failed = _loop.run_until_complete(_apply(event["Records"]))
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


async def _apply(records: list[dict[str, Any]]) -> list[str]:
    failed = await apply_batch(_applier, records)
    if not _settings.limits.rates_exact:
        await tell_users(_counter, records, failed)
    return failed
