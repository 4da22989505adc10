"""The scheduled Lambda that does the work of lost events: every few minutes for overdue work, once
a day for everything.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html: an invocation
comes "at least once", and two may run at a time. So only one takes the full reconciliation, and
each step can be repeated.
"""

from image_poster.editions.aws import cold_start  # isort: split

import asyncio
from typing import Any

import structlog

from image_poster.editions.aws import container
from image_poster.editions.aws.settings import read_settings
from image_poster.editions.logs import configure, emf
from image_poster.services.reconciliation import Repair

_settings = read_settings()
configure("json", stack=_settings.stack)
_healing = container.healing(_settings)
_log = structlog.get_logger()
_loop = asyncio.new_event_loop()
cold_start.over()


def handler(_event: dict[str, Any], context: Any) -> None:  # noqa: ANN401 - Lambda's
    """Run one round, within the invocation's remaining time."""
    remaining_ms = int(context.get_remaining_time_in_millis())
    _loop.run_until_complete(_work(remaining_ms))


async def _work(remaining_ms: int) -> None:
    async for one in _healing.run(remaining_ms):
        _tell(one)


def _tell(one: Repair) -> None:
    if one.error is None:
        _log.info(one.what, service="healing", post=one.post_id, Healed=1, _aws=emf(Healed="Count"))
    else:
        failures = {"Failures": 1, "_aws": emf(Failures="Count")}
        _log.error(one.what, service="healing", post=one.post_id, exc_info=one.error, **failures)
