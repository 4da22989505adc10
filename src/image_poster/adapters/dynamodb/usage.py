"""Usage in DynamoDB, one item a user, and the changes of usage in a stream batch."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from image_poster.adapters.dynamodb import database, schema
from image_poster.adapters.dynamodb.boto import decoded_item
from image_poster.adapters.dynamodb.database import PK, SK, Item
from image_poster.adapters.dynamodb.schema import COMMENT, DELETED, POST
from image_poster.domain.posts import PostStatus
from image_poster.domain.usage import NOTHING_TAKEN, Usage
from image_poster.ports.clock import Clock
from image_poster.services.quotas import UploadChange, UserChanges


class DynamoUsageStore:
    """`UsageStore` in DynamoDB, by comparing and swapping."""

    def __init__(self, table: database.Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    async def find(self, user: str) -> Usage:
        item = await self._table.get(schema.taken_key(user), consistent=False)
        return NOTHING_TAKEN if item is None else schema.taken_of(item)

    async def update(self, user: str, change: Callable[[Usage], Usage]) -> None:
        async for _ in database.attempts():
            item = await self._table.get(schema.taken_key(user))
            before = NOTHING_TAKEN if item is None else schema.taken_of(item)
            after = change(before)
            if after == before:
                return
            try:
                await self._table.write(self._swap(user, item, after))
            except (database.ConditionFailedError, database.ConflictError):
                continue
            return

    def _swap(self, user: str, before: Item | None, after: Usage) -> database.Put:
        now = self._clock.now_ms()
        if before is None:
            return database.Put(schema.taken_item(user, after, 0, now), (database.Missing(PK),))
        version = int(before["version"])
        item = schema.taken_item(user, after, version + 1, now)
        return database.Put(item, (database.Is("version", version),))


def changes_by_user(records: Iterable[dict[str, Any]], now_ms: int) -> list[UserChanges]:
    """Group a batch by user. A record without a time counts at `now_ms`."""
    writes: dict[str, list[int]] = {}
    uploads: dict[str, dict[str, UploadChange]] = {}
    for record in records:
        change = record["dynamodb"]
        key = decoded_item(change["Keys"])
        old = decoded_item(change.get("OldImage", {}))
        new = decoded_item(change.get("NewImage", {}))
        user = _writer(key, old, new)
        if user is not None:
            writes.setdefault(user, []).append(_time_ms(change, now_ms))
        if key[SK] == POST and (news := _news(key, old, new)) is not None:
            of_user = uploads.setdefault(str((new or old)["creator"]), {})
            of_user[news.post_id] = _together(of_user.get(news.post_id, news), news)
    return [
        UserChanges(user, tuple(writes.get(user, ())), tuple(uploads.get(user, {}).values()))
        for user in sorted(writes.keys() | uploads.keys())
    ]


def _writer(key: Item, old: Item, new: Item) -> str | None:
    """The user whose write a record is; None for the service's own writes. An admin's edit of a
    post counts for its creator."""
    text = "doc" if str(key[SK]).startswith(COMMENT) else "head" if key[SK] == POST else None
    if text is None or not new:
        return None
    if "deleted_by" in new:
        return None if "deleted_by" in old else str(new["deleted_by"])
    if not old or (new[text] != old[text] and new.get("status") == old.get("status")):
        return str(new["creator"])
    return None


def _news(key: Item, old: Item, new: Item) -> UploadChange | None:
    """The upload's change if it began, got its length, or ended; else None."""
    before, after = old.get("status"), new.get("status")
    length = (new or old).get("upload_length")
    if after == PostStatus.AWAITING_UPLOAD:
        if before == after and old.get("upload_length") == length:
            return None
    elif before != PostStatus.AWAITING_UPLOAD:
        return None
    return UploadChange(
        post_id=str(key[PK]).removeprefix("POST#"),
        begun=not old,
        unfinished=after in (None, DELETED),
        length=None if length is None else int(length),
        expires_ms=int((new or old)["upload_expires"]),
    )


def _together(one: UploadChange, other: UploadChange) -> UploadChange:
    """Merge two changes of one upload; `other` is the later one."""
    return other._replace(
        begun=one.begun or other.begun, unfinished=one.unfinished or other.unfinished
    )


def _time_ms(change: dict[str, Any], now_ms: int) -> int:
    """The record's time in milliseconds since 1970. Lambda gets seconds; botocore makes a
    `datetime` of them."""
    at = change.get("ApproximateCreationDateTime")
    if at is None:
        return now_ms
    return int(1000 * (at.timestamp() if isinstance(at, datetime) else float(at)))
