"""The Lambda that follows the table's stream: counts, image work to begin, remains to remove.

`ReportBatchItemFailures`: the answer names the first record of each post that could not be
followed, and everything from the first of these on is delivered again
(https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).
"""

import asyncio
from typing import Any

import structlog

from image_poster.adapters.dynamodb.stream import Group, grouped
from image_poster.editions.aws import parts
from image_poster.editions.aws.observing import emf
from image_poster.editions.aws.settings import read_settings
from image_poster.editions.logs import configure
from image_poster.usecases.follow_changes import FollowChanges

configure("json")
_log = structlog.get_logger()


async def follow(follow_changes: FollowChanges, records: list[dict[str, Any]]) -> list[str]:
    """Follow a batch; the sequence numbers from which on it is to be delivered again."""
    return [group.first for group in grouped(records) if not await _followed(follow_changes, group)]


async def _followed(follow_changes: FollowChanges, group: Group) -> bool:
    try:
        await follow_changes(group.changes)
    except Exception:  # noqa: BLE001 - whatever it was: it comes again, and then to the queue
        _log.exception("could not follow", post=group.changes.post_id, **_cause(group))
        return False
    _log.info(
        "followed",
        service="stream",
        post=group.changes.post_id,
        turns=sorted(group.changes.turns),
        Comments=len(group.changes.comments),
        _aws=emf(Comments="Count"),
        **_cause(group),
    )
    return True


def _cause(group: Group) -> dict[str, Any]:
    """Which requests it follows from: one by its name, as everywhere, or some of many."""
    ids = sorted(group.request_ids - {""})
    return {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids[:20]}


_follow_changes = parts.follow_changes(read_settings())
_loop = asyncio.new_event_loop()


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Follow a batch of records."""
    failed = _loop.run_until_complete(follow(_follow_changes, event["Records"]))
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}
