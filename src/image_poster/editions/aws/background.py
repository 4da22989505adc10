"""The two Lambdas that work behind the API: the stream Lambda, and the reconciliation Lambda.

The stream Lambda applies the changes in the table's stream: counts, image work to start, deleted
posts to purge, accounts to delete, and users' usage. Its response names the first record of each
post whose changes could not be applied. Everything from the first of these on is delivered again:
https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html

The reconciliation Lambda does the work of lost events: every few minutes overdue work, once a day
everything. An invocation comes "at least once", and two may run at a time. So only one takes the
full reconciliation, and each step can be repeated:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
"""

from image_poster.editions.aws import cold_start  # isort: split

import asyncio
from typing import Any

import structlog

from image_poster.adapters.dynamodb.stream import begun_deletions, decoded_records
from image_poster.editions.aws import container
from image_poster.editions.aws.settings import read_settings
from image_poster.editions.logs import configure, emf

_settings = read_settings()
configure("json", stack=_settings.stack)
_log = structlog.get_logger()
_container = container.AwsContainer(_settings)
_applier, _recorder = _container.change_applier, _container.usage_recorder
_reconciliation, _deletions = _container.reconciliation(), _container.deletions
# Other batches of the same records wait meanwhile.
_DELETION_SECONDS = 30
_loop = asyncio.new_event_loop()
cold_start.over()


def apply_changes(event: dict[str, Any], _context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Apply a batch of records."""
    failed = _loop.run_until_complete(_apply(event["Records"]))
    _loop.run_until_complete(_delete_accounts(begun_deletions(event["Records"])))
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


async def _apply(raw_records: list[dict[str, Any]]) -> list[str]:
    records = decoded_records(raw_records)
    failed = await _applier.apply(records)
    if not _settings.limits.rates_exact:
        await _recorder.record_batch(records, failed)
    return failed


async def _delete_accounts(users: list[str]) -> None:
    """Go on at once with deletions that began in this batch. The reconciliation does the rest, also
    after a failure here."""
    for user in users:
        try:
            await _deletions.run(user, _DELETION_SECONDS)
        except Exception:  # noqa: BLE001 - as above
            failure = {"Failures": 1, "_aws": emf(Failures="Count")}
            _log.exception("account not deleted yet", service="stream", user=user, **failure)


def reconcile(_event: dict[str, Any], context: Any) -> None:  # noqa: ANN401 - Lambda's
    """Run one round, within the invocation's remaining time."""
    _loop.run_until_complete(_reconcile(int(context.get_remaining_time_in_millis())))


async def _reconcile(remaining_ms: int) -> None:
    async for repair in _reconciliation.run(remaining_ms):
        about = {"service": "healing", "post": repair.post_id}
        if repair.error is None:
            _log.info(repair.action, Healed=1, _aws=emf(Healed="Count"), **about)
        else:
            failures = {"Failures": 1, "_aws": emf(Failures="Count")}
            _log.error(repair.action, exc_info=repair.error, **failures, **about)
