"""Counting while DynamoDB throttles: it waits, takes less at a time, and gives up nothing.

`support/throttling.py` has a table whose partitions take so many units a second, in simulated time.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from contract.ports.suite import a_comment
from image_poster.adapters.dynamodb.boto import BackoffBudget, translated
from image_poster.adapters.dynamodb.schema import post_key
from image_poster.domain.errors import BusyError
from property.test_projection import World
from support.dynamodb import EventSourceMapping
from support.filters import passes
from support.throttling import PARTITION_UNITS, ThrottledTable, patiently, run_simulated

BATCH = 990  # BatchSize in infra/template.yaml


def cancelled(*codes: str) -> ClientError:
    reasons = [{"Code": code} for code in codes]
    error: Any = {
        "Error": {"Code": "TransactionCanceledException"},
        "CancellationReasons": reasons,
    }
    return ClientError(error, "TransactWriteItems")


@pytest.mark.parametrize(
    "error",
    [
        cancelled("None", "ThrottlingError"),
        cancelled("ProvisionedThroughputExceeded", "None"),
        cancelled("ConditionalCheckFailed", "ThrottlingError"),
        ClientError({"Error": {"Code": "ThrottlingException"}}, "PutItem"),
        ClientError({"Error": {"Code": "RequestLimitExceeded"}}, "PutItem"),
        ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "PutItem"),
    ],
    ids=str,
)
def test_each_way_of_throttling_means_busy(error: ClientError) -> None:
    """API reference, TransactWriteItems, "Cancellation reasons"; and "Common errors"."""
    with pytest.raises(BusyError), translated():
        raise error


def test_a_transaction_that_no_second_can_pay_for_is_halved_until_one_can() -> None:
    """97 claims cost 194 units, of a partition that has 60 a second."""

    async def story() -> None:
        table = ThrottledTable(60)
        world = World(1, table=table)
        post_id = await world.ready()
        comments = [a_comment(post_id, content=f"number {number}") for number in range(97)]
        for comment in comments:
            await patiently(lambda comment=comment: world.comments.add(comment))  # type: ignore[misc]
        table.refused = 0
        await world.counter.count(post_id, [comment.id for comment in comments])
        assert table.refused
        await world.assert_exact(post_id)

    run_simulated(story)


def test_the_time_to_wait_is_bounded() -> None:
    """Then the batch is delivered again; what was counted stays."""

    async def story() -> None:
        table = ThrottledTable(60)
        world = World(2, table=table)
        post_id = await world.ready()
        comments = [a_comment(post_id) for _ in range(97)]
        for comment in comments:
            await patiently(lambda comment=comment: world.comments.add(comment))  # type: ignore[misc]
        started = asyncio.get_running_loop().time()
        ids = [comment.id for comment in comments]
        with pytest.raises(BusyError):
            await world.counter.count(post_id, ids, BackoffBudget(3))
        assert asyncio.get_running_loop().time() - started < 10
        assert 0 < int(world.table.items[post_key(post_id)]["total"]) < 97
        await world.counter.count(post_id, ids)
        await world.assert_exact(post_id)

    run_simulated(story)


def test_a_throttled_post_does_not_hold_up_the_others() -> None:
    async def story() -> None:
        table = ThrottledTable(60)
        world = World(3, table=table)
        hot, calm = await world.ready(), await world.ready()
        start = len(table.stream)
        for number in range(60):
            comment = a_comment(hot if number < 59 else calm)
            await patiently(lambda comment=comment: world.comments.add(comment))  # type: ignore[misc]
        order: list[str] = []
        counter = world.counter.count

        async def noted(post_id: str, ids: Any, budget: Any) -> None:
            await counter(post_id, ids, budget)
            order.append(post_id)

        world.counter.count = noted  # type: ignore[method-assign, assignment]
        answer = await world.handle({"Records": table.stream[start:]})
        assert answer == {"batchItemFailures": []}
        assert order == [calm, hot]

    run_simulated(story)


class HotPost:
    """One post, on which people comment for a minute. One invocation at a time counts, as records
    of one partition keep their order."""

    def __init__(self, rate: float, seconds: int = 60) -> None:
        self.table = ThrottledTable(PARTITION_UNITS, seconds=1)
        self.world = World(4, table=self.table)
        self.rate, self.total = rate, int(rate * seconds)
        self.post_id = ""
        self.behind: list[float] = []

    async def run(self) -> EventSourceMapping:
        self.post_id = await self.world.ready()
        start = len(self.table.stream)
        writers = [asyncio.create_task(self._write(number)) for number in range(self.total)]
        mapping = EventSourceMapping(self._handle, seed=1, shards=1)
        async for batch in self._batches(start):
            await mapping.deliver(batch, batch=BATCH, repeats=0)
        await asyncio.gather(*writers)
        return mapping

    async def _write(self, number: int) -> None:
        await asyncio.sleep(number / self.rate)
        await patiently(lambda: self.world.comments.add(a_comment(self.post_id)))

    async def _batches(self, start: int) -> AsyncIterator[list[dict[str, Any]]]:
        """The stream's records so far, until all comments are counted."""
        while True:
            records = list(filter(passes, self.table.stream[start:]))
            start = len(self.table.stream)
            if records:
                yield records
            elif self.world.table.items[post_key(self.post_id)]["total"] == self.total:
                return
            await asyncio.sleep(0.2)

    async def _handle(self, event: dict[str, Any]) -> dict[str, Any]:
        answer = await self.world.handle(event)
        now = asyncio.get_running_loop().time()
        times = [record["dynamodb"]["ApproximateCreationDateTime"] for record in event["Records"]]
        self.behind += [now - time for time in times]
        return answer


@pytest.mark.parametrize(("rate", "most_behind"), [(100, 5), (250, 10), (400, 60)])
def test_counts_of_a_hot_post_keep_up_or_catch_up(rate: int, most_behind: int) -> None:
    """A comment costs one unit and its claim two, so that a partition takes 333 comments a second
    at most. Beyond that counts lag while it lasts, and then catch up: exact, and nothing is given
    up."""

    async def story() -> None:
        post = HotPost(rate)
        mapping = await post.run()
        assert mapping.parked == []
        await post.world.assert_exact(post.post_id)
        behind = sorted(post.behind)
        median, longest = behind[len(behind) // 2], behind[-1]
        print(  # noqa: T201 - docs/aws-design.md has these numbers
            f"{rate} comments/s: {longest:.1f} s behind at most, {median:.1f} s in the middle; "
            f"{post.table.refused} requests refused"
        )
        assert longest < most_behind

    run_simulated(story)
