"""What operators do on a stack, with the credentials and the region of their AWS profile."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.dynamodb import stream
from image_poster.adapters.dynamodb.database import Key
from image_poster.adapters.s3.schema import post_id_of
from image_poster.adapters.sqs import GivenUpBatch, GivenUpImage, SqsDeadLetters
from image_poster.domain.errors import ImagePosterError
from image_poster.editions import StartError
from image_poster.editions.aws import container
from image_poster.editions.aws.changes import apply_batch
from image_poster.editions.aws.settings import Settings
from image_poster.services.maintenance import Rebuilt

Result = TypeVar("Result")


class Parked(NamedTuple):
    """Something that waits in the dead-letter place."""

    what: str
    error: str


class Replayed(NamedTuple):
    """What became of it: it is due again, or `reason` says why not."""

    what: str
    reason: str | None = None


@dataclass(frozen=True)
class Stack:
    """A deployed stack, by the outputs of its template."""

    outputs: dict[str, str]

    @cached_property
    def settings(self) -> Settings:
        """What its Lambdas are told, as far as it matters here."""
        return Settings(
            table=self.outputs["Table"],
            uploads_bucket=self.outputs["UploadsBucket"],
            images_bucket=self.outputs["ImagesBucket"],
            distribution=self.outputs["Distribution"],
            feed_shards=int(self.outputs["FeedShards"]),
            latest_kept=int(self.outputs["LatestKept"]),
        )

    @cached_property
    def images(self) -> SqsDeadLetters[GivenUpImage]:
        """Image work that was given up."""
        queue = self.outputs["ImageDeadLetters"]
        return SqsDeadLetters(container.client("sqs"), queue, GivenUpImage)

    @cached_property
    def batches(self) -> SqsDeadLetters[GivenUpBatch]:
        """Records of the table's stream whose changes could not be applied."""
        queue = self.outputs["StreamDeadLetters"]
        return SqsDeadLetters(container.client("sqs"), queue, GivenUpBatch)


def open_stack(name: str) -> Stack:
    """The stack of this name. Raises `StartError`."""
    try:
        described = container.client("cloudformation").describe_stacks(StackName=name)
    except (ClientError, BotoCoreError) as exc:
        raise StartError(f"the stack {name} cannot be looked at: {exc}") from exc
    (found,) = described["Stacks"]
    return Stack({one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]})


def parked(stack: Stack) -> list[Parked]:
    """The dead-letter place."""
    with stack.images.held() as images, stack.batches.held() as batches:
        return [
            *(Parked(key, one.content.error) for one in images for key in one.content.keys),
            *(Parked(_named(one.content), "its changes could not be applied") for one in batches),
        ]


def replay(stack: Stack) -> list[Replayed]:
    """Make everything in the dead-letter place due again; what became of each. What fails again
    stays there."""
    return _run(_replay_all(stack))


def rebuild(stack: Stack) -> Rebuilt:
    """Derive counts, latest comments and feed entries anew; begin image work, and remove what is
    left of deleted posts, where the stream's Lambda should have and did not. With that, batches in
    the dead-letter place have nothing to tell any more."""
    return _run(_rebuild(stack))


def _run(work: Coroutine[None, None, Result]) -> Result:
    try:
        return asyncio.run(work)
    except ImagePosterError as exc:
        raise StartError(exc.detail) from exc


async def _replay_all(stack: Stack) -> list[Replayed]:
    with stack.images.held() as images, stack.batches.held() as batches:
        done = [await _replay_image(stack, key) for letter in images for key in letter.content.keys]
        for letter in images:
            stack.images.remove(letter)
        for batch in batches:
            outcome = await _replay_batch(stack, batch.content)
            done.append(outcome)
            if outcome.reason is None:
                stack.batches.remove(batch)
        return done


async def _replay_image(stack: Stack, key: str) -> Replayed:
    is_there = await container.job_replayer(stack.settings).replay(post_id_of(key))
    return Replayed(key, None if is_there else "its post is gone")


async def _replay_batch(stack: Stack, letter: GivenUpBatch) -> Replayed:
    batch = letter.batch
    reader = stream.DynamoStreamReader(container.client("dynamodbstreams"), batch.arn)
    try:
        records = reader.between(batch.shard, batch.first, batch.last)
    except stream.RecordsGoneError:
        return Replayed(
            _named(letter), "the stream has forgotten these records: run `rebuild --stack`"
        )
    failed = await apply_batch(container.change_applier(stack.settings), records)
    return Replayed(_named(letter), "it failed again: see the lines above" if failed else None)


async def _rebuild(stack: Stack) -> Rebuilt:
    with stack.batches.held() as covered:
        await _reconcile(stack.settings)
        rebuilt = await container.rebuilder(stack.settings).rebuild()
        for letter in covered:
            stack.batches.remove(letter)
        return rebuilt


async def _reconcile(settings: Settings) -> None:
    applier, rows = container.change_applier(settings), container.table(settings)
    after: Key | None = None
    while True:
        changes, after = await stream.unapplied_changes(rows, after)
        for change in changes:
            await applier.apply(change)
        if after is None:
            return


def _named(letter: GivenUpBatch) -> str:
    batch = letter.batch
    return f"{batch.size} changes of {batch.since or batch.first}"
