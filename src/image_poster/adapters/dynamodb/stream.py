"""Records of the table's stream: the changes in a batch, and reading a batch again (the stream has
records for a day).

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html

Records of one item come in their order, at least once; those of different items in any order. So a
record is a hint to read the item, and never its current state.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.dynamodb.boto import decoded_item
from image_poster.adapters.dynamodb.database import PK, SK, Item
from image_poster.adapters.dynamodb.schema import COMMENT, DELETED, POST
from image_poster.domain.errors import BusyError
from image_poster.domain.posts import PostStatus
from image_poster.services.maintenance import PostChanges, PostEvent


class ChangesOfPost(NamedTuple):
    """The changes of one post in a batch. `first` is the sequence number of its first record;
    `request_ids` are those of the requests that made the changes."""

    changes: PostChanges
    first: str
    request_ids: frozenset[str]


class _Hint(NamedTuple):
    post_id: str
    comment_id: str | None
    event: PostEvent | None
    request_id: str


def changes_by_post(records: Iterable[dict[str, Any]]) -> list[ChangesOfPost]:
    """Group a batch by post, in the order of each post's first record."""
    hints: dict[str, list[_Hint]] = {}
    first: dict[str, str] = {}
    for record in records:
        for hint in _hints(record["dynamodb"]):
            hints.setdefault(hint.post_id, []).append(hint)
            first.setdefault(hint.post_id, record["dynamodb"]["SequenceNumber"])
    return [
        ChangesOfPost(_changes(post_id, found), first[post_id], _ids(found))
        for post_id, found in hints.items()
    ]


def _changes(post_id: str, hints: list[_Hint]) -> PostChanges:
    return PostChanges(
        post_id,
        frozenset(hint.comment_id for hint in hints if hint.comment_id is not None),
        frozenset(hint.event for hint in hints if hint.event is not None),
    )


def _ids(hints: list[_Hint]) -> frozenset[str]:
    return frozenset(hint.request_id for hint in hints)


def _hints(change: dict[str, Any]) -> Iterator[_Hint]:
    keys = decoded_item(change["Keys"])
    old = decoded_item(change.get("OldImage", {}))
    new = decoded_item(change.get("NewImage", {}))
    post_id = str(keys[PK]).removeprefix("POST#")
    request_id = str((new or old).get("request_id", ""))
    if str(keys[SK]).startswith(COMMENT):
        if _needs_a_look(old, new):
            yield _Hint(post_id, str(keys[SK]).removeprefix(COMMENT), None, request_id)
    elif keys[SK] == POST:
        event = _event_between(old, new)
        if event is not None:
            yield _Hint(post_id, None, event, request_id)


def _needs_a_look(old: Item, new: Item) -> bool:
    """True if a comment's record is neither its removal nor the setting of `counted`. The
    event-source mapping filters out most of those (`infra/template.yaml`)."""
    return bool(new) and {**old, "counted": True} != new


def _event_between(old: Item, new: Item) -> PostEvent | None:
    if not new:  # expired by its `ttl`; a tombstone was purged long ago
        return None if old.get("status") == DELETED else PostEvent.DELETED
    if new["status"] == old.get("status"):
        return None
    if new["status"] == DELETED:
        return PostEvent.DELETED
    received = new["status"] == PostStatus.PROCESSING and "staged" in new
    return PostEvent.RECEIVED if received else None


# GetRecords, "Errors": what is older than a day; and a shard, or a stream, that went with it.
_TRIMMED = {"TrimmedDataAccessException", "ResourceNotFoundException"}
_MAX_RECORDS = 1000
# An open shard gives iterators for ever. It is read through at 1,000 records or 1 MB a call, and
# pages between may be empty; what these are not enough for is not where the letter says.
_MAX_EMPTY_PAGES = 500
_EMPTY_PAUSE_SECONDS = 0.2


class RecordsGoneError(Exception):
    """The stream does not have all of these records; the text names the missing ones."""


class DynamoStreamReader:
    """Reads one stream. `pause` waits for so many seconds."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - botocore makes clients at run time
        arn: str,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._arn = arn
        self._pause = pause

    def batch(self, shard: str, first: str, last: str, size: int) -> list[dict[str, Any]]:
        """A shard's records from sequence number `first` to `last`, both inclusive. There are at
        least `size`: Lambda counts records that passed its filter, and the stream has the others
        too. Raises `RecordsGoneError` and `BusyError`."""
        try:
            found = list(self._read(shard, first, int(last)))
        except (ClientError, BotoCoreError) as exc:
            if isinstance(exc, ClientError) and exc.response["Error"]["Code"] in _TRIMMED:
                raise RecordsGoneError("the stream has forgotten these records") from exc
            raise BusyError(f"The stream cannot be read: {exc}") from exc
        _check_whole(found, int(first), int(last), size)
        return found

    def _read(self, shard: str, first: str, last: int) -> Iterator[dict[str, Any]]:
        for page in self._pages(shard, first):
            for record in page:
                if _number(record) > last:
                    return
                yield record
                if _number(record) == last:
                    return

    def _pages(self, shard: str, first: str) -> Iterator[list[dict[str, Any]]]:
        """Yield pages until the shard ends: "NextShardIterator: if set to null, the shard has been
        closed". An empty page is not the end: "it might take multiple calls" to reach the records
        (API reference, GetRecords)."""
        iterator: str | None = self._client.get_shard_iterator(
            StreamArn=self._arn,
            ShardId=shard,
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=first,
        )["ShardIterator"]
        empty = 0
        while iterator and empty < _MAX_EMPTY_PAGES:
            answer = self._client.get_records(ShardIterator=iterator, Limit=_MAX_RECORDS)
            iterator = answer.get("NextShardIterator")
            if answer["Records"]:
                empty = 0
                yield answer["Records"]
            else:
                empty += 1
                self._pause(_EMPTY_PAUSE_SECONDS)


def _check_whole(found: list[dict[str, Any]], first: int, last: int, size: int) -> None:
    """Raises `RecordsGoneError` if the first, the last or any other record is missing."""
    if not found or _number(found[0]) != first:
        raise RecordsGoneError(f"the stream does not have the batch's first record, {first}")
    if _number(found[-1]) != last:
        raise RecordsGoneError(f"the stream does not have the batch's last record, {last}")
    if len(found) < size:
        raise RecordsGoneError(f"the stream has {len(found)} of the batch's {size} records")


def _number(record: dict[str, Any]) -> int:
    return int(record["dynamodb"]["SequenceNumber"])
