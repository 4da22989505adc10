"""The Lambda that a clock invokes: it does what lost events left undone, every few minutes for what
is overdue, once a day for all.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html: "at least
once", and perhaps two at a time; so one takes the walk, and each step may be repeated.
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
    """One round, in the time that there is."""
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
