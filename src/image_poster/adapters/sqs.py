"""What Lambdas gave up, as Lambda tells their on-failure queues.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html (an image: the
event itself) and https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html (a
batch of the table's stream: only where it is).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import field

from image_poster.domain.errors import BusyError

# While they are looked at, nobody else gets them.
_HELD_SECONDS = 60
_MAX_MESSAGES = 10  # ReceiveMessage


class _Response(msgspec.Struct):
    error: str = field(default="", name="errorMessage")


class _Object(msgspec.Struct):
    key: str


class _Stored(msgspec.Struct):
    object: _Object


class _Record(msgspec.Struct):
    s3: _Stored


class _Event(msgspec.Struct):
    records: list[_Record] = field(name="Records")


class GivenUpImage(msgspec.Struct, frozen=True):
    """An invocation of the image Lambda that failed for good."""

    event: _Event = field(name="requestPayload")
    response: _Response = field(name="responsePayload", default_factory=_Response)

    @property
    def keys(self) -> list[str]:
        """The objects that it was told of."""
        return [record.s3.object.key for record in self.event.records]

    @property
    def error(self) -> str:
        """What it ended with; nothing is known where it ran out of time or memory."""
        return self.response.error or "it ended without a word: out of time, or out of memory"


class StreamBatch(msgspec.Struct, frozen=True):
    """Where a batch of records is, both ends included."""

    arn: str = field(name="streamArn")
    shard: str = field(name="shardId")
    first: str = field(name="startSequenceNumber")
    last: str = field(name="endSequenceNumber")
    size: int = field(name="batchSize")
    since: str = field(name="approximateArrivalOfFirstRecord", default="")


class GivenUpBatch(msgspec.Struct, frozen=True):
    """A batch of records that could not be followed."""

    batch: StreamBatch = field(name="DDBStreamBatchInfo")


Content = TypeVar("Content")


class DeadLetter(NamedTuple, Generic[Content]):
    """What was given up, and the handle with which it is removed from its queue."""

    content: Content
    handle: str


class SqsDeadLetters(Generic[Content]):
    """One queue. Looking takes nothing out: what is not removed can be seen again."""

    def __init__(self, client: Any, queue: str, kind: type[Content]) -> None:  # noqa: ANN401 - botocore makes clients at run time
        self._client = client
        self._queue = queue
        self._decoder = msgspec.json.Decoder(kind)

    @contextmanager
    def held(self) -> Iterator[list[DeadLetter[Content]]]:
        """All that wait, for the caller alone; what was not removed waits on afterwards."""
        with translated():
            found = list(self._receive())
        try:
            yield found
        finally:
            for letter in found:
                self._let_go(letter)

    def remove(self, letter: DeadLetter[Content]) -> None:
        """It has been dealt with."""
        with translated():
            self._client.delete_message(QueueUrl=self._queue, ReceiptHandle=letter.handle)

    def _receive(self) -> Iterator[DeadLetter[Content]]:
        while True:
            answer = self._client.receive_message(
                QueueUrl=self._queue,
                MaxNumberOfMessages=_MAX_MESSAGES,
                VisibilityTimeout=_HELD_SECONDS,
            )
            if not answer.get("Messages"):
                return
            for message in answer["Messages"]:
                content = self._decoder.decode(message["Body"])
                yield DeadLetter(content, message["ReceiptHandle"])

    def _let_go(self, letter: DeadLetter[Content]) -> None:
        try:
            self._client.change_message_visibility(
                QueueUrl=self._queue, ReceiptHandle=letter.handle, VisibilityTimeout=0
            )
        except ClientError:
            return  # it was removed, or its time had run out


@contextmanager
def translated() -> Iterator[None]:
    """SQS's errors as ours: an operator's command may be given again."""
    try:
        yield
    except (ClientError, BotoCoreError) as exc:
        raise BusyError(f"The queue cannot be read: {exc}") from exc
