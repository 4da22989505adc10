"""The Lambda that puts events on the stack's event bus, if the parameter `Events` is on.

Its response names the records whose events could not be put. They are delivered again, with all
later ones of their batch:
https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
"""

from image_poster.editions.aws import cold_start  # isort: split

import asyncio
from typing import Any

from image_poster.editions.aws.container import AwsContainer
from image_poster.editions.aws.event_bus import event_publisher
from image_poster.editions.aws.settings import read_settings
from image_poster.editions.logs import configure

_settings = read_settings()
configure("json", stack=_settings.stack)
_publisher = event_publisher(AwsContainer(_settings))
_loop = asyncio.new_event_loop()
cold_start.over()


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Put the events of a batch of records."""
    failed = _loop.run_until_complete(_publisher.publish(event["Records"]))
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}
