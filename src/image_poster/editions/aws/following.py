"""Following a batch of the stream's records, post by post."""

from typing import Any

import structlog

from image_poster.adapters.dynamodb.stream import ChangesOfPost, changes_by_post
from image_poster.editions.aws.emf import emf
from image_poster.usecases.follow_changes import FollowChanges

_log = structlog.get_logger()


async def follow(follow_changes: FollowChanges, records: list[dict[str, Any]]) -> list[str]:
    """Follow a batch; the sequence numbers from which on it is to be delivered again."""
    return [
        group.first
        for group in changes_by_post(records)
        if not await _followed(follow_changes, group)
    ]


async def _followed(follow_changes: FollowChanges, group: ChangesOfPost) -> bool:
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


def _cause(group: ChangesOfPost) -> dict[str, Any]:
    """Which requests it follows from: one by its name, as everywhere, or some of many."""
    ids = sorted(group.request_ids - {""})
    return {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids[:20]}
