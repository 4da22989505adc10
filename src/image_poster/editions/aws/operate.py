"""Operators' commands on a stack, with the credentials and the region of their AWS profile. They
replay dead letters, reconcile the whole stack, and sign in test users of its own user pool.

https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-authentication-flow-methods.html:
`ADMIN_USER_PASSWORD_AUTH` signs in with the rights of an AWS profile. The template allows it in
stages that are not `prod`.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.dynamodb import stream
from image_poster.adapters.s3.schema import post_id_of
from image_poster.adapters.sqs import GivenUpBatch, GivenUpEvents, GivenUpImage, SqsDeadLetters
from image_poster.domain.errors import ImagePosterError
from image_poster.editions import StartError
from image_poster.editions.aws import container
from image_poster.editions.aws.event_bus import event_publisher
from image_poster.editions.aws.image_work import replay_image_work
from image_poster.editions.aws.reconciliation import Repair
from image_poster.editions.aws.settings import AwsSettings

_ADMINS = "admins"
Content = TypeVar("Content", GivenUpImage, GivenUpBatch, GivenUpEvents)
Result = TypeVar("Result")
# No check is scheduled later than this.
_AHEAD_MS = 7 * 24 * 3600 * 1000
_FAILURES = (ImagePosterError, ClientError, BotoCoreError)
_FOREIGN = "Lambda did not send this message. It stays in the queue: look at it in SQS"


class RebuiltStack(NamedTuple):
    """The number of posts that were checked, and the repairs."""

    checked: int
    repairs: list[Repair]


class FailedWork(NamedTuple):
    """The work of a dead letter, and the `reason` for its failure; None once it is due again."""

    work: str
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
            event_bus=self.outputs.get("EventBus", ""),
        )

    @cached_property
    def services(self) -> container.AwsContainer:
        """The stores and services over its table and buckets."""
        return container.AwsContainer(self.settings)

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

    @cached_property
    def events(self) -> SqsDeadLetters[GivenUpEvents] | None:
        """The dead letters of stream batches whose events could not be put; None without events."""
        queue = self.outputs.get("EventDeadLetters")
        if queue is None:
            return None
        return SqsDeadLetters(container.client("sqs"), queue, GivenUpEvents)


def open_stack(name: str) -> Stack:
    """The stack of this name. Raises `StartError`."""
    try:
        described = container.client("cloudformation").describe_stacks(StackName=name)
    except (ClientError, BotoCoreError) as exc:
        raise StartError(f"the stack {name} cannot be read: {exc}") from exc
    (stack,) = described["Stacks"]
    return Stack({output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]})


def parked(stack: Stack) -> Iterator[FailedWork]:
    """The entries of the dead-letter queues, read one by one. Raises `StartError`."""
    with translated():
        for queue in (stack.images, stack.batches, stack.events):
            if queue is None:
                continue
            with queue.receive_all() as letters:
                for letter in letters:
                    content = letter.content
                    names = [letter.name] if content is None else content.names
                    reason = _FOREIGN if content is None else content.error
                    yield from (FailedWork(work, reason) for work in names)


def replay(stack: Stack) -> list[FailedWork]:
    """Make every dead letter due again; returns the result for each. Letters that fail again stay
    in their queue."""
    return _run(_replay_all(stack))


def rebuild(stack: Stack) -> RebuiltStack:
    """Run a whole reconciliation at once: derive counts, latest comments and feed entries anew,
    start image work, and purge deleted posts. This covers the dead letters of stream batches too,
    so they are removed."""
    return _run(_rebuild(stack))


def token(stack: Stack, user: str, *, admin: bool) -> str:
    """An access token of the test user of this name, valid for an hour. Creates the user if there
    is none, and sets a new password. Raises `StartError`."""
    if stack.outputs["Stage"] == "prod":
        raise StartError("tokens of test users are for stages that are not prod: sign in instead.")
    if "UserPool" not in stack.outputs:
        raise StartError("this stack has no users of its own: get a token from its issuer.")
    pool, app = stack.outputs["UserPool"], stack.outputs["UserPoolClient"]
    try:
        return _sign_in(pool, app, user, admin=admin)
    except (ClientError, BotoCoreError) as exc:
        raise StartError(f"{user} cannot be signed in: {exc}") from exc


def _sign_in(pool: str, client_id: str, name: str, *, admin: bool) -> str:
    client = container.client("cognito-idp")
    with suppress(client.exceptions.UsernameExistsException):
        # The pool requires an address; nothing is sent to this one (RFC 2606).
        email = {"Name": "email", "Value": f"{secrets.token_hex(16)}@example.invalid"}
        client.admin_create_user(
            UserPoolId=pool, Username=name, UserAttributes=[email], MessageAction="SUPPRESS"
        )
    # The pool's default policy asks for upper and lower case, a digit and a symbol.
    password = f"{secrets.token_urlsafe(24)}aA1!"
    client.admin_set_user_password(
        UserPoolId=pool, Username=name, Password=password, Permanent=True
    )
    if admin:
        client.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=_ADMINS)
    response = client.admin_initiate_auth(
        UserPoolId=pool,
        ClientId=client_id,
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": name, "PASSWORD": password},
    )
    return str(response["AuthenticationResult"]["AccessToken"])


def _run(work: Coroutine[None, None, Result]) -> Result:
    with translated():
        return asyncio.run(work)


@contextmanager
def translated() -> Iterator[None]:
    """Translate an error of the stack to a `StartError`, the one sentence that the user sees."""
    try:
        yield
    except ImagePosterError as exc:
        raise StartError(exc.detail) from exc
    except (ClientError, BotoCoreError) as exc:  # a right that this profile does not have
        raise StartError(f"AWS refused it: {exc}") from exc


async def _replay_all(stack: Stack) -> list[FailedWork]:
    """Replay all letters; each is removed only after its work is due again."""
    images = await _replay_letters(stack.images, lambda image: _replay_image(stack, image))
    batches = await _replay_letters(stack.batches, lambda batch: _replay_batch(stack, batch))
    if stack.events is None:
        return images + batches
    events = await _replay_letters(stack.events, lambda batch: _replay_events(stack, batch))
    return images + batches + events


async def _replay_letters(
    queue: SqsDeadLetters[Content], replay: Callable[[Content], Awaitable[list[FailedWork]]]
) -> list[FailedWork]:
    """Replay one queue's letters. `replay` raises `_KeepLetterError` if a letter must stay."""
    results: list[FailedWork] = []
    with queue.receive_all() as letters:
        for letter in letters:
            if letter.content is None:
                results.append(FailedWork(letter.name, _FOREIGN))
                continue
            try:
                results += await replay(letter.content)
                queue.remove(letter)
            except _KeepLetterError as exc:
                results += [FailedWork(name, str(exc)) for name in letter.content.names]
            except _FAILURES as exc:  # other letters have their turn
                results.append(FailedWork(letter.name, f"it failed again: {exc}"))
    return results


class _KeepLetterError(Exception):
    """The letter's work is not due again; the text says why."""


async def _replay_image(stack: Stack, image: GivenUpImage) -> list[FailedWork]:
    aws, results = stack.services, list[FailedWork]()
    posts, failures, start = aws.posts(), aws.failures, aws.images.start_work
    for key in image.names:
        exists = await replay_image_work(post_id_of(key), posts, failures, start)
        results.append(FailedWork(key, None if exists else "its post was deleted"))
    return results


def _read_batch(letter: GivenUpBatch) -> list[dict[str, Any]]:
    """The records of a batch. Raises `RecordsGoneError`."""
    batch = letter.batch
    reader = stream.DynamoStreamReader(container.client("dynamodbstreams"), batch.arn)
    return reader.batch(batch.shard, batch.first, batch.last, batch.size)


async def _replay_events(stack: Stack, letter: GivenUpEvents) -> list[FailedWork]:
    try:
        records = _read_batch(letter)
    except stream.RecordsGoneError as exc:
        raise _KeepLetterError(f"{exc}. Its events are lost: delete this message in SQS") from exc
    if await event_publisher(stack.services).publish(records):
        raise _KeepLetterError("it failed again: see the lines above")
    return [FailedWork(name) for name in letter.names]


async def _replay_batch(stack: Stack, letter: GivenUpBatch) -> list[FailedWork]:
    try:
        records = _read_batch(letter)
    except stream.RecordsGoneError as exc:
        raise _KeepLetterError(f"{exc}. Run `rebuild --stack`, which removes this message") from exc
    if await stack.services.change_applier.apply(stream.decoded_records(records)):
        raise _KeepLetterError("it failed again: see the lines above")
    return [FailedWork(name) for name in letter.names]


async def _rebuild(stack: Stack) -> RebuiltStack:
    with stack.batches.receive_all() as letters:
        covered = {letter.name for letter in letters if letter.content is not None}
    checked, repairs = 0, list[Repair]()
    async for step in stack.services.reconciliation(ahead_ms=_AHEAD_MS).run_whole():
        checked += step.checked
        repairs += step.repairs
    # Received again: reconciliation may have taken longer than letters stay invisible to others.
    with stack.batches.receive_all() as letters:
        for letter in letters:
            if letter.name in covered:
                stack.batches.remove(letter)
    return RebuiltStack(checked, repairs)
