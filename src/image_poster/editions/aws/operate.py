"""Operators' commands on a stack, with the credentials and the region of their AWS profile."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.dynamodb import stream
from image_poster.adapters.s3.schema import post_id_of
from image_poster.adapters.sqs import DeadLetter, GivenUpBatch, GivenUpImage, SqsDeadLetters
from image_poster.domain.errors import ImagePosterError
from image_poster.editions import StartError
from image_poster.editions.aws import container, users
from image_poster.editions.aws.changes import apply_batch
from image_poster.editions.aws.settings import AwsSettings
from image_poster.services.reconciliation import Repair

Result = TypeVar("Result")
# Nothing is due later than that.
_AHEAD_MS = 7 * 24 * 3600 * 1000
_FAILURES = (ImagePosterError, ClientError, BotoCoreError)
_FOREIGN = "this letter is none of Lambda's: look at it in SQS; it stays"


class ParkedFailure(NamedTuple):
    """An entry of the dead-letter queues."""

    what: str
    error: str


class RebuiltStack(NamedTuple):
    """The number of posts that were checked, and the repairs."""

    checked: int
    healed: list[Repair]


class Replayed(NamedTuple):
    """The result for one dead letter: due again, or a `reason` for the failure."""

    what: str
    reason: str | None = None


@dataclass(frozen=True)
class Stack:
    """A deployed stack, by the outputs of its template."""

    outputs: dict[str, str]

    @cached_property
    def settings(self) -> AwsSettings:
        """The settings of its Lambdas, as far as the commands need them."""
        return AwsSettings(
            table=self.outputs["Table"],
            uploads_bucket=self.outputs["UploadsBucket"],
            images_bucket=self.outputs["ImagesBucket"],
            distribution=self.outputs["Distribution"],
            feed_shards=int(self.outputs["FeedShards"]),
            latest_kept=int(self.outputs["LatestKept"]),
        )

    @cached_property
    def images(self) -> SqsDeadLetters[GivenUpImage]:
        """The dead letters of image work."""
        queue = self.outputs["ImageDeadLetters"]
        return SqsDeadLetters(container.client("sqs"), queue, GivenUpImage)

    @cached_property
    def batches(self) -> SqsDeadLetters[GivenUpBatch]:
        """The dead letters of stream batches whose changes could not be applied."""
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


def parked(stack: Stack) -> Iterator[ParkedFailure]:
    """The entries of the dead-letter queues, read one by one. Raises `StartError`."""
    with started(), stack.images.held() as images:
        for image in images:
            yield from _parked_image(image)
    with started(), stack.batches.held() as batches:
        for batch in batches:
            yield _parked_batch(batch)


def _parked_image(letter: DeadLetter[GivenUpImage]) -> Iterator[ParkedFailure]:
    if letter.content is None:
        yield ParkedFailure(letter.name, _FOREIGN)
        return
    for key in letter.content.keys:
        yield ParkedFailure(key, letter.content.error)


def _parked_batch(letter: DeadLetter[GivenUpBatch]) -> ParkedFailure:
    if letter.content is None:
        return ParkedFailure(letter.name, _FOREIGN)
    return ParkedFailure(_named(letter.content), "its changes could not be applied")


def replay(stack: Stack) -> list[Replayed]:
    """Make every dead letter due again; returns the result for each. Letters that fail again stay
    in their queue."""
    return _run(_replay_all(stack))


def rebuild(stack: Stack) -> RebuiltStack:
    """Run a whole reconciliation at once: derive counts, latest comments and feed entries anew,
    start image work, and purge deleted posts. This covers the dead letters of stream batches too,
    so they are removed."""
    return _run(_rebuild(stack))


def token(stack: Stack, user: str, *, admin: bool) -> str:
    """An access token of a test user. Raises `StartError`."""
    return users.token(stack.outputs, user, admin=admin)


def _run(work: Coroutine[None, None, Result]) -> Result:
    with started():
        return asyncio.run(work)


@contextmanager
def started() -> Iterator[None]:
    """Convert an error of the stack to the one sentence that the user sees."""
    try:
        yield
    except ImagePosterError as exc:
        raise StartError(exc.detail) from exc
    except (ClientError, BotoCoreError) as exc:  # a right that this profile does not have
        raise StartError(f"AWS refused it: {exc}") from exc


async def _replay_all(stack: Stack) -> list[Replayed]:
    """Replay all letters; each is removed only after its work is due again."""
    done: list[Replayed] = []
    with stack.images.held() as images:
        for letter in images:
            try:
                done += await _replay_image(stack, letter)
                if letter.content is not None:
                    stack.images.remove(letter)
            except _FAILURES as exc:  # other letters have their turn
                done.append(Replayed(letter.name, f"it failed again: {exc}"))
    with stack.batches.held() as batches:
        for batch in batches:
            try:
                outcome = await _replay_batch(stack, batch)
                if outcome.reason is None:
                    stack.batches.remove(batch)
            except _FAILURES as exc:
                outcome = Replayed(batch.name, f"it failed again: {exc}")
            done.append(outcome)
    return done


async def _replay_image(stack: Stack, letter: DeadLetter[GivenUpImage]) -> list[Replayed]:
    if letter.content is None:
        return [Replayed(letter.name, _FOREIGN)]
    replayer, done = container.job_replayer(stack.settings), list[Replayed]()
    for key in letter.content.keys:
        is_there = await replayer.replay(post_id_of(key))
        done.append(Replayed(key, None if is_there else "its post is gone"))
    return done


async def _replay_batch(stack: Stack, letter: DeadLetter[GivenUpBatch]) -> Replayed:
    if letter.content is None:
        return Replayed(letter.name, _FOREIGN)
    batch, name = letter.content.batch, _named(letter.content)
    reader = stream.DynamoStreamReader(container.client("dynamodbstreams"), batch.arn)
    try:
        records = reader.batch(batch.shard, batch.first, batch.last, batch.size)
    except stream.RecordsGoneError as exc:
        return Replayed(name, f"{exc}: run `rebuild --stack`; it stays till then")
    failed = await apply_batch(container.change_applier(stack.settings), records)
    return Replayed(name, "it failed again: see the lines above" if failed else None)


async def _rebuild(stack: Stack) -> RebuiltStack:
    with stack.batches.held() as waiting:
        covered = {letter.name for letter in waiting if letter.content is not None}
    checked, healed = 0, list[Repair]()
    async for found in container.healing(stack.settings, ahead_ms=_AHEAD_MS).run_whole():
        checked += found.checked
        healed += found.healed
    # Held anew: that may have taken longer than a letter can be held.
    with stack.batches.held() as waiting:
        for letter in waiting:
            if letter.name in covered:
                stack.batches.remove(letter)
    return RebuiltStack(checked, healed)


def _named(letter: GivenUpBatch) -> str:
    batch = letter.batch
    return f"{batch.size} changes of {batch.since or batch.first}"
