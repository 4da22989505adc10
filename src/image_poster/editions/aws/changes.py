"""Applying a batch of the stream's records, post by post."""

from typing import Any

import structlog

from image_poster.adapters.dynamodb.stream import ChangesOfPost, changes_by_post
from image_poster.editions.logs import emf
from image_poster.services.maintenance import ChangeApplier

_log = structlog.get_logger()


async def apply_batch(applier: ChangeApplier, records: list[dict[str, Any]]) -> list[str]:
    """Apply a batch; the sequence numbers from which on it is to be delivered again."""
    return [group.first for group in changes_by_post(records) if not await _applied(applier, group)]


async def _applied(applier: ChangeApplier, group: ChangesOfPost) -> bool:
    try:
        await applier.apply(group.changes)
    except Exception:  # noqa: BLE001 - whatever it was: it comes again, and then to the queue
        _log.exception("changes not applied", post=group.changes.post_id, **_cause(group))
        return False
    _log.info(
        "changes applied",
        service="stream",
        post=group.changes.post_id,
        events=sorted(group.changes.events),
        Comments=len(group.changes.comments),
        _aws=emf(Comments="Count"),
        **_cause(group),
    )
    return True


def _cause(group: ChangesOfPost) -> dict[str, Any]:
    """Which requests made the changes: one by its name, as everywhere, or some of many."""
    ids = sorted(group.request_ids - {""})
    return {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids[:20]}
