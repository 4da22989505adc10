"""Applying a batch of the stream's records, post by post: first all counts, then what else follows.

A fault of S3 or of CloudFront is told and left to the healing Lambda; only a count that could not
be kept has its records delivered again. What users have taken is told last.
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
    """Apply a batch; the sequence numbers from which on it is to be delivered again."""
    groups = changes_by_post(records)
    failed = [group.first for group in groups if not await _done(applier.count, group, "counted")]
    for group in groups:
        if group.changes.events:
            await _done(applier.follow, group, "followed")
    return failed


async def tell_users(
    counter: UsageRecorder, records: list[dict[str, Any]], failed: list[str]
) -> None:
    """Tell what users have taken, by a batch that was applied but from `failed` on: what comes
    again is told then. What cannot be told is lost: limits need not be exact, and an upload that
    would stay under way goes when it expires."""
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
    """Which requests made the changes: one by its name, as everywhere, or some of many."""
    ids = sorted(group.request_ids - {""})
    return {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids[:20]}
