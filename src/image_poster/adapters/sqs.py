"""Dead letters in SQS: messages that Lambda sends to the on-failure queues of its functions.

- https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html: an image's
  message has the event itself.
- https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html: a stream batch's
  message has only the batch's position.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import field

from image_poster.domain.errors import BusyError

# For so long, no other consumer receives a letter.
_INVISIBLE_SECONDS = 300
_WAIT_SECONDS = 1
_SILENT_RECEIVES = 2
_MAX_MESSAGES = 10  # ReceiveMessage


class _Response(msgspec.Struct):
    error: str = field(default="", name="errorMessage")


class _Context(msgspec.Struct):
    condition: str = ""


class _Object(msgspec.Struct):
    key: str


class _Stored(msgspec.Struct):
    object: _Object


class _Record(msgspec.Struct):
    s3: _Stored


class _Event(msgspec.Struct):
    records: list[_Record] = field(name="Records")


class GivenUpImage(msgspec.Struct, frozen=True):
    """An invocation of the image Lambda that failed permanently."""

    event: _Event = field(name="requestPayload")
    # `null` without a response: out of time or memory, too old, or throttled.
    response: _Response | None = field(name="responsePayload", default=None)
    context: _Context = field(name="requestContext", default_factory=_Context)

    @property
    def names(self) -> list[str]:
        """The keys of the objects in its event."""
        return [record.s3.object.key for record in self.event.records]

    @property
    def error(self) -> str:
        """The error of the invocation. Lambda gives none if it ran out of time or memory."""
        if self.response is not None and self.response.error:
            return self.response.error
        if self.context.condition == "EventAgeExceeded":
            return "it waited too long for a free Lambda environment"
        return "it ended without an error message: it exceeded its time or its memory"


class StreamBatch(msgspec.Struct, frozen=True):
    """The position of a batch of records in its stream; `first` and `last` are inclusive."""

    arn: str = field(name="streamArn")
    shard: str = field(name="shardId")
    first: str = field(name="startSequenceNumber")
    last: str = field(name="endSequenceNumber")
    size: int = field(name="batchSize")
    since: str = field(name="approximateArrivalOfFirstRecord", default="")


class GivenUpBatch(msgspec.Struct, frozen=True):
    """A batch of stream records whose changes could not be applied."""

    batch: StreamBatch = field(name="DDBStreamBatchInfo")

    error = "its changes could not be applied"

    @property
    def names(self) -> list[str]:
        """The batch's size and time, for operators."""
        return [f"{self.batch.size} changes of {self.batch.since or self.batch.first}"]


class GivenUpEvents(GivenUpBatch, frozen=True):
    """A batch of stream records whose events could not be put on the event bus."""

    error = "its events could not be put on the event bus"


Content = TypeVar("Content", GivenUpImage, GivenUpBatch, GivenUpEvents)


class DeadLetter(NamedTuple, Generic[Content]):
    """A dead letter. `content` is None if Lambda did not send it; `name` is the message's id."""

    content: Content | None
    name: str


class SqsDeadLetters(Generic[Content]):
    """The dead letters of one queue. A letter stays in the queue until it is removed."""

    def __init__(self, client: Any, queue: str, kind: type[Content]) -> None:  # noqa: ANN401 - botocore makes clients at run time
        self._client = client
        self._queue = queue
        self._kind: type[Content] = kind
        # The newest handle of each received letter: SQS delivers a letter again after
        # `_INVISIBLE_SECONDS` ("at-least-once delivery").
        self._handles: dict[str, str] = {}

    @contextmanager
    def receive_all(self) -> Iterator[Iterator[DeadLetter[Content]]]:
        """Yield an iterator over all letters, each once. For 300 seconds, no other consumer gets a
        letter. On exit, letters that were not removed become visible in the queue again."""
        self._handles = {}
        try:
            yield self._each_once()
        finally:
            for handle in self._handles.values():
                self._release(handle)

    def remove(self, letter: DeadLetter[Content]) -> None:
        """Delete a letter from the queue. Raises `BusyError`."""
        with translated():
            self._client.delete_message(
                QueueUrl=self._queue, ReceiptHandle=self._handles.pop(letter.name)
            )

    def _each_once(self) -> Iterator[DeadLetter[Content]]:
        """Yield each letter once, until two receives in a row return no message."""
        ids, silent = set[str](), 0
        while silent < _SILENT_RECEIVES:
            messages = self._receive()
            new = [message for message in messages if message["MessageId"] not in ids]
            handles = {message["MessageId"]: message["ReceiptHandle"] for message in messages}
            ids |= handles.keys()
            self._handles |= handles
            silent = 0 if messages else silent + 1
            yield from map(self._letter, new)

    def _receive(self) -> list[dict[str, Any]]:
        """Receive up to ten messages, by long polling, which queries all of SQS's servers. Short
        polling queries a subset of them and may miss messages (SQS developer guide, "Amazon SQS
        short and long polling")."""
        with translated():
            answer = self._client.receive_message(
                QueueUrl=self._queue,
                MaxNumberOfMessages=_MAX_MESSAGES,
                VisibilityTimeout=_INVISIBLE_SECONDS,
                WaitTimeSeconds=_WAIT_SECONDS,
            )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    def _letter(self, message: dict[str, Any]) -> DeadLetter[Content]:
        try:
            content = msgspec.json.decode(message["Body"], type=self._kind)
        except msgspec.DecodeError:
            content = None
        return DeadLetter(content, message["MessageId"])

    def _release(self, handle: str) -> None:
        try:
            self._client.change_message_visibility(
                QueueUrl=self._queue, ReceiptHandle=handle, VisibilityTimeout=0
            )
        except (ClientError, BotoCoreError):
            return  # it was removed, or its time had run out; else it runs out by itself


@contextmanager
def translated() -> Iterator[None]:
    """Translate SQS's errors to `BusyError`: the operator can repeat the command."""
    try:
        yield
    except (ClientError, BotoCoreError) as exc:
        raise BusyError(f"The queue cannot be read: {exc}") from exc
