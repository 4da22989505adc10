"""What operators do on a stack, with the credentials and the region of their AWS profile."""

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
    """Something that waits in the dead-letter place."""

    what: str
    error: str


class RebuiltStack(NamedTuple):
    """How many posts were checked, and what was done."""

    checked: int
    healed: list[Repair]


class Replayed(NamedTuple):
    """What became of it: it is due again, or `reason` says why not."""

    what: str
    reason: str | None = None


@dataclass(frozen=True)
class Stack:
    """A deployed stack, by the outputs of its template."""

    outputs: dict[str, str]

    @cached_property
    def settings(self) -> AwsSettings:
        """What its Lambdas are told, as far as it matters here."""
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


def parked(stack: Stack) -> Iterator[ParkedFailure]:
    """The dead-letter place, as it is read. Raises `StartError`."""
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
    """Make everything in the dead-letter place due again; what became of each. What fails again
    stays there."""
    return _run(_replay_all(stack))


def rebuild(stack: Stack) -> RebuiltStack:
    """What the healing Lambda does, for everything and at once: derive counts, latest comments and
    feed entries anew, begin image work, and remove what is left of deleted posts. With that,
    batches in the dead-letter place have nothing to tell any more."""
    return _run(_rebuild(stack))


def token(stack: Stack, user: str, *, admin: bool) -> str:
    """An access token of a test user. Raises `StartError`."""
    return users.token(stack.outputs, user, admin=admin)


def _run(work: Coroutine[None, None, Result]) -> Result:
    with started():
        return asyncio.run(work)


@contextmanager
def started() -> Iterator[None]:
    """Errors of the stack as the one sentence that a command ends with."""
    try:
        yield
    except ImagePosterError as exc:
        raise StartError(exc.detail) from exc
    except (ClientError, BotoCoreError) as exc:  # a right that this profile does not have
        raise StartError(f"AWS refused it: {exc}") from exc


async def _replay_all(stack: Stack) -> list[Replayed]:
    """Each letter goes when what it tells is due again, and not before."""
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
