"""Records of the table's stream: their decoding, and the changes of posts and of users' usage in a
batch. The stream has records for a day, in which a batch can be read again.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html

Records of one item come in their order, at least once; those of different items in any order. So a
record is a hint to read the item, and never its current state.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.adapters.dynamodb import schema
from image_poster.adapters.dynamodb.database import Item, decoded_item
from image_poster.adapters.dynamodb.standing import DELETING
from image_poster.domain.errors import BusyError
from image_poster.domain.posts import PostStatus


class StreamRecord(NamedTuple):
    """A change of a post, or of its comment `comment_id`: the item before and after it (empty: no
    item). `time_ms` is in milliseconds since 1970 (None: unknown)."""

    number: str
    post_id: str
    comment_id: str | None
    old: Item
    new: Item
    time_ms: int | None

    @property
    def item(self) -> Item:
        """The item after the change, or before its removal."""
        return self.new or self.old


def decoded_records(records: Iterable[dict[str, Any]]) -> list[StreamRecord]:
    """Decode the records of posts and comments; leave out those of all other items."""
    return [record for record in map(_decoded, records) if record is not None]


def _decoded(record: dict[str, Any]) -> StreamRecord | None:
    change = record["dynamodb"]
    key = schema.key_of(decoded_item(change["Keys"]))
    is_comment = key.sk.startswith(schema.COMMENT)
    if not is_comment and key.sk != schema.POST:
        return None
    return StreamRecord(
        change["SequenceNumber"],
        schema.post_id_of(key),
        key.sk.removeprefix(schema.COMMENT) if is_comment else None,
        decoded_item(change.get("OldImage", {})),
        decoded_item(change.get("NewImage", {})),
        _time_ms(change.get("ApproximateCreationDateTime")),
    )


def begun_deletions(records: Iterable[dict[str, Any]]) -> list[str]:
    """The users whose accounts' deletion began in these records."""
    users: dict[str, None] = {}
    for record in records:
        change = record["dynamodb"]
        key = schema.key_of(decoded_item(change["Keys"]))
        was_deleting = DELETING in change.get("OldImage", {})
        if key.sk == schema.ACCOUNT and DELETING in change.get("NewImage", {}) and not was_deleting:
            users[schema.user_of(key)] = None
    return list(users)


def _time_ms(at: datetime | float | None) -> int | None:
    """Lambda gets seconds since 1970; botocore makes a `datetime` of them."""
    if at is None:
        return None
    return int(1000 * (at.timestamp() if isinstance(at, datetime) else float(at)))


class PostEvent(StrEnum):
    """An event of a post: `RECEIVED`, all pieces of its image are there; `HIDDEN`, by a decision;
    `DELETED`, also by expiry."""

    RECEIVED = "received"
    HIDDEN = "hidden"
    DELETED = "deleted"


@dataclass
class PostChanges:
    """One post's changes in a batch: the ids of its changed comments, its events, and the ids of
    the requests that made them. `first` is the sequence number of its first record."""

    post_id: str
    first: str
    comments: set[str] = field(default_factory=set)
    events: set[PostEvent] = field(default_factory=set)
    request_ids: set[str] = field(default_factory=set)


def changes_by_post(records: Iterable[StreamRecord]) -> list[PostChanges]:
    """Group a batch by post, in the order of each post's first record."""
    by_post: dict[str, PostChanges] = {}
    for record in records:
        event = _post_event(record) if record.comment_id is None else None
        if event is None and not _is_uncounted(record):
            continue
        changes = by_post.setdefault(record.post_id, PostChanges(record.post_id, record.number))
        changes.request_ids.add(str(record.item.get("request_id", "")))
        if event is not None:
            changes.events.add(event)
        elif record.comment_id is not None:
            changes.comments.add(record.comment_id)
    return list(by_post.values())


def _is_uncounted(record: StreamRecord) -> bool:
    """True if a comment's record is neither its removal nor the setting of `counted`. The
    event-source mapping filters out most of those (`infra/template.yaml`)."""
    return (
        record.comment_id is not None
        and bool(record.new)
        and ({**record.old, "counted": True} != record.new)
    )


def _post_event(record: StreamRecord) -> PostEvent | None:
    before, after = record.old.get("status"), record.new.get("status")
    if not record.new:  # expired by its `ttl`; a tombstone was purged long ago
        return None if before == schema.DELETED else PostEvent.DELETED
    if after == before:
        return None
    if after == schema.DELETED:
        return PostEvent.DELETED
    if after == PostStatus.HIDDEN:
        return PostEvent.HIDDEN
    received = after == PostStatus.PROCESSING and "staged" in record.new
    return PostEvent.RECEIVED if received else None


class UploadChange(NamedTuple):
    """A change of a post that awaits its bytes, or did. `begun`: it has just started to await them.
    `unfinished`: they will not come.

    `length` is their number, if known. `expires_ms` is the time until which they are awaited, a day
    after the reservation.
    """

    post_id: str
    begun: bool
    unfinished: bool
    length: int | None
    expires_ms: int


@dataclass
class UserChanges:
    """One user's changes in a batch: the times of writes (milliseconds since 1970), and the changed
    uploads by post id."""

    user: str
    writes: list[int] = field(default_factory=list)
    uploads: dict[str, UploadChange] = field(default_factory=dict)


def changes_by_user(records: Iterable[StreamRecord], now_ms: int) -> list[UserChanges]:
    """Group a batch by user. A record without a time counts at `now_ms`."""
    by_user: dict[str, UserChanges] = {}
    for record in records:
        writer, upload = _writer(record), _upload_change(record)
        if writer is not None:
            changes = by_user.setdefault(writer, UserChanges(writer))
            changes.writes.append(now_ms if record.time_ms is None else record.time_ms)
        if upload is not None:
            creator = str(record.item["creator"])
            uploads = by_user.setdefault(creator, UserChanges(creator)).uploads
            uploads[upload.post_id] = _merged(uploads.get(upload.post_id, upload), upload)
    return [by_user[user] for user in sorted(by_user)]


def _writer(record: StreamRecord) -> str | None:
    """The user whose write a record is; None for the service's own writes. An admin's edit of a
    post counts for its creator."""
    old, new = record.old, record.new
    if not new:
        return None
    if "deleted_by" in new:
        # The service itself, which deletes accounts, is no user.
        return None if "deleted_by" in old else str(new["deleted_by"]) or None
    text = "head" if record.comment_id is None else "doc"
    if not old or (new[text] != old[text] and new.get("status") == old.get("status")):
        return str(new["creator"])
    return None


def _upload_change(record: StreamRecord) -> UploadChange | None:
    """The upload's change if it began, got its length, or ended; else None."""
    before, after = record.old.get("status"), record.new.get("status")
    length = record.item.get("upload_length")
    if after == PostStatus.AWAITING_UPLOAD:
        if before == after and record.old.get("upload_length") == length:
            return None
    elif before != PostStatus.AWAITING_UPLOAD:
        return None
    return UploadChange(
        post_id=record.post_id,
        begun=not record.old,
        unfinished=after in (None, schema.DELETED),
        length=None if length is None else int(length),
        expires_ms=int(record.item["upload_expires"]),
    )


def _merged(earlier: UploadChange, later: UploadChange) -> UploadChange:
    return later._replace(
        begun=earlier.begun or later.begun, unfinished=earlier.unfinished or later.unfinished
    )


# GetRecords, "Errors": records older than a day, or a shard or stream that no longer exists.
_TRIMMED = {"TrimmedDataAccessException", "ResourceNotFoundException"}
_MAX_RECORDS = 1000
# An open shard gives iterators for ever, with 1,000 records or 1 MB a call and empty pages between
# them. After so many empty pages, the records are not where the dead letter says.
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
            records = list(self._read(shard, first, int(last)))
        except (ClientError, BotoCoreError) as exc:
            if isinstance(exc, ClientError) and exc.response["Error"]["Code"] in _TRIMMED:
                raise RecordsGoneError("the stream no longer has these records") from exc
            raise BusyError(f"The stream cannot be read: {exc}") from exc
        _check_whole(records, int(first), int(last), size)
        return records

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


def _check_whole(records: list[dict[str, Any]], first: int, last: int, size: int) -> None:
    """Raises `RecordsGoneError` if the first, the last or any other record is missing."""
    if not records or _number(records[0]) != first:
        raise RecordsGoneError(f"the stream does not have the batch's first record, {first}")
    if _number(records[-1]) != last:
        raise RecordsGoneError(f"the stream does not have the batch's last record, {last}")
    if len(records) < size:
        raise RecordsGoneError(f"the stream has {len(records)} of the batch's {size} records")


def _number(record: dict[str, Any]) -> int:
    return int(record["dynamodb"]["SequenceNumber"])
