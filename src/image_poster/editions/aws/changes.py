"""Apply a batch of the stream's records, post by post: first all counts, then the steps that
follow.

A failure of S3 or CloudFront is logged and left to the reconciliation Lambda. Only a failed count
has its records delivered again. Users' usage is recorded last.
"""

from collections.abc import Awaitable, Callable
from itertools import takewhile
from typing import Any

import structlog

from image_poster.adapters.dynamodb.stream import ChangesOfPost, changes_by_post
from image_poster.adapters.dynamodb.usage import changes_by_user
from image_poster.editions.logs import emf
from image_poster.services.maintenance import ChangeApplier, PostChanges
from image_poster.services.quotas import UsageRecorder

_log = structlog.get_logger()


async def apply_batch(applier: ChangeApplier, records: list[dict[str, Any]]) -> list[str]:
    """Apply a batch; returns the sequence numbers from which it must be delivered again."""
    groups = changes_by_post(records)
    failed = [group.first for group in groups if not await _done(applier.count, group, "counted")]
    for group in groups:
        if group.changes.events:
            await _done(applier.follow, group, "followed")
    return failed


async def tell_users(
    counter: UsageRecorder, records: list[dict[str, Any]], failed: list[str]
) -> None:
    """Record users' usage from the batch's records before the first one in `failed`; the others are
    delivered again. Usage that cannot be recorded is lost: quotas need not be exact, and an upload
    that stays open expires."""
    told = list(takewhile(lambda one: one["dynamodb"]["SequenceNumber"] not in failed, records))
    for changes in changes_by_user(told, counter.clock.now_ms()):
        try:
            await counter.record(changes)
        except Exception:  # noqa: BLE001 - whatever it was: counts are kept
            failure = {"Failures": 1, "_aws": emf(Failures="Count")}
            _log.exception("limits not told", service="stream", user=changes.user, **failure)


async def _done(
    work: Callable[[PostChanges], Awaitable[None]], group: ChangesOfPost, what: str
) -> bool:
    try:
        await work(group.changes)
    except Exception:  # noqa: BLE001 - whatever it was: it comes again
        _log.exception(
            f"changes not {what}",
            service="stream",
            post=group.changes.post_id,
            Failures=1,
            _aws=emf(Failures="Count"),
            **_cause(group),
        )
        return False
    _log.info(
        f"changes {what}",
        service="stream",
        post=group.changes.post_id,
        events=sorted(group.changes.events),
        Comments=len(group.changes.comments),
        _aws=emf(Comments="Count"),
        **_cause(group),
    )
    return True


def _cause(group: ChangesOfPost) -> dict[str, Any]:
    """The ids of the requests that made the changes: a single one as `request_id`, else up to
    20."""
    ids = sorted(group.request_ids - {""})
    return {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids[:20]}
