"""The Lambda that follows the table's stream: counts, image work to begin, remains to remove.

`ReportBatchItemFailures`: the answer names the first record of each post that could not be
followed, and everything from the first of these on is delivered again
(https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).
"""

from image_poster.editions.aws import cold_start  # isort: split

import asyncio
from typing import Any

from image_poster.editions.aws import parts
from image_poster.editions.aws.following import follow
from image_poster.editions.aws.settings import read_settings
from image_poster.editions.logs import configure

configure("json")
_follow_changes = parts.follow_changes(read_settings())
_loop = asyncio.new_event_loop()
cold_start.over()


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Follow a batch of records."""
    failed = _loop.run_until_complete(follow(_follow_changes, event["Records"]))
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}
