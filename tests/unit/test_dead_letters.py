"""Lists of what was given up are whole, and what is replayed is exactly what was given up."""

import json
from typing import Any

import pytest

from image_poster.adapters.dynamodb.stream import DynamoStreamReader, RecordsGoneError
from image_poster.adapters.sqs import GivenUpImage, SqsDeadLetters
from support.letters import FakeQueue, FakeStream

NUMBERS = list(range(100, 120))


def letter(key: str, **more: Any) -> str:
    event = {"Records": [{"s3": {"object": {"key": key}}}]}
    return json.dumps({"requestPayload": event, **more})


def queue_of(count: int) -> FakeQueue:
    return FakeQueue({f"m{number}": letter(f"originals/{number}") for number in range(count)})


def letters(queue: FakeQueue) -> SqsDeadLetters[GivenUpImage]:
    return SqsDeadLetters(queue, "queue", GivenUpImage)


def names(queue: FakeQueue) -> list[str]:
    with letters(queue).receive_all() as messages:
        return [message.name for message in messages]


def test_empty_receives_end_no_list() -> None:
    queue = queue_of(25)
    queue.empty = [True, False, True, False, True, False, True]
    assert names(queue) == list(queue.bodies)
    assert min(queue.waits) > 0  # long polling: all servers are asked


def test_a_list_takes_nothing_out_and_lets_everything_go() -> None:
    queue = queue_of(12)
    assert names(queue) == names(queue) == list(queue.bodies)
    assert queue.handles == {}


def test_letters_that_come_again_while_they_are_held_are_told_once() -> None:
    """Going through them takes longer than they can be held."""
    queue = queue_of(30)
    with letters(queue).receive_all() as messages:
        told = []
        for message in messages:
            told.append(message.name)
            if len(told) == 15:
                queue.time_passes()
    assert sorted(told) == sorted(queue.bodies)
    assert queue.handles == {}


def test_what_came_again_is_removed_by_its_newest_handle() -> None:
    queue = queue_of(3)
    queue.at_once = 2
    source = letters(queue)
    with source.receive_all() as messages:
        first = next(messages)
        queue.time_passes()
        rest = list(messages)
        for message in [first, *rest]:
            source.remove(message)
    assert queue.bodies == {}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"responsePayload": None}, "it exceeded its time or its memory"),
        ({}, "it exceeded its time or its memory"),
        ({"responsePayload": {"errorMessage": "no memory"}}, "no memory"),
        (
            {"responsePayload": None, "requestContext": {"condition": "EventAgeExceeded"}},
            "waited too long",
        ),
    ],
)
def test_a_letter_says_what_is_known_of_its_end(more: dict[str, Any], said: str) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html"""
    with letters(FakeQueue({"m": letter("originals/1", **more)})).receive_all() as messages:
        (message,) = messages
    assert message.content is not None
    assert said in message.content.error


def test_a_letter_that_is_none_of_lambdas_hides_no_other() -> None:
    queue = FakeQueue({"a": "nonsense", "b": letter("originals/1"), "c": '{"x": 1}'})
    with letters(queue).receive_all() as messages:
        assert [message.content is None for message in messages] == [True, False, True]


def read(stream: FakeStream, first: int, last: int, size: int) -> list[int]:
    reader = DynamoStreamReader(stream, "arn", pause=lambda _: None)
    records = reader.batch("shard", str(first), str(last), size)
    return [int(record["dynamodb"]["SequenceNumber"]) for record in records]


@pytest.mark.parametrize("closed", [False, True])
def test_empty_pages_end_no_batch(*, closed: bool) -> None:
    stream = FakeStream(NUMBERS, closed=closed)
    assert read(stream, 103, 119, 17) == NUMBERS[3:]
    assert read(stream, 103, 103, 1) == [103]


def test_records_that_the_filter_left_out_are_no_fault() -> None:
    assert len(read(FakeStream(NUMBERS), 103, 112, 4)) == 10


@pytest.mark.parametrize(
    ("first", "last", "size", "missing"),
    [
        (99, 105, 1, "first record, 99"),
        (103, 130, 1, "last record, 130"),
        (103, 105, 4, "3 of the batch's 4"),
    ],
)
@pytest.mark.parametrize("closed", [False, True])
def test_a_batch_that_is_not_whole_is_not_replayed(
    first: int, last: int, size: int, missing: str, *, closed: bool
) -> None:
    """An open shard gives iterators for ever; even so it comes to an end."""
    with pytest.raises(RecordsGoneError, match=missing):
        read(FakeStream(NUMBERS, closed=closed), first, last, size)


def test_what_the_stream_has_trimmed_is_told() -> None:
    with pytest.raises(RecordsGoneError, match="no longer has"):
        read(FakeStream(NUMBERS, trimmed_below=110), 103, 105, 3)
