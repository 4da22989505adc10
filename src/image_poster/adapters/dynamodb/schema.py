"""Keys and attributes of the table's items, and their conversion; the package's docstring lists
them."""

import hashlib
from collections.abc import Mapping
from zlib import crc32

import msgspec

from image_poster.adapters.dynamodb.database import PK, SK, Item, Key, Value
from image_poster.domain.accounts import Usage
from image_poster.domain.comments import Comment, CommentState, encode_comment
from image_poster.domain.feed import (
    ALWAYS,
    BEHIND_PAST_RANKS,
    EPOCH_MS,
    PAST_EPOCHS,
    CurrentRank,
    Position,
    Ranked,
)
from image_poster.domain.idempotency import KEPT_MS
from image_poster.domain.posts import Post, PostStatus, StoredPost, encode_post
from image_poster.domain.uploads import Upload

POST = "POST"
COMMENT = "COMMENT#"
# The first sort key behind those of comments: "$" follows "#".
AFTER_COMMENTS = "COMMENT$"
GONE = "GONE#"
RANK = "RANK#"
RECORD = "KEY#"
ACCOUNT = "ACCOUNT"
PAST = "PAST#"
DELETED = "deleted"
# Of a post: False while the stream has not added its creator's last write to the usage.
STREAM_COUNTED = "counted"
DUE_ATTRIBUTES = ("due", "due_at")
DUE_PARTS = 4
UNFINISHED = {PostStatus.AWAITING_UPLOAD, PostStatus.PROCESSING}
# Until then, the event has usually been handled, with up to three attempts.
UNFINISHED_CHECK_MS = 3600 * 1000
# After a deletion, and after the renditions had to move between the public and the private place.
MOVED_CHECK_MS = 5 * 60 * 1000
DAY_MS = 24 * 3600 * 1000
FAILED_CHECK_MS = DAY_MS

# TTL deletes late ("within a few days"), so readers compare `expires_ms`.
_GRACE_SECONDS = 3600
# A day's bytes, and uploads that are kept for a day.
_USAGE_LISTS = ("under_way", "passed")
_HASHED = "sha256:"
_USAGE_KEPT_MS = 2 * DAY_MS


def post_key(post_id: str) -> Key:
    return Key(f"POST#{post_id}", POST)


def comment_key(post_id: str, comment_id: str) -> Key:
    return Key(f"POST#{post_id}", f"{COMMENT}{comment_id}")


def gone_key(post_id: str, comment_id: str) -> Key:
    """The key of a deleted comment's mark, which names the user who deleted it."""
    return Key(f"POST#{post_id}", f"{GONE}{comment_id}")


def user_partition(user: str) -> str:
    return f"USER#{user}"


def record_key(user: str, key: str) -> Key:
    return Key(user_partition(user), f"{RECORD}{hashlib.sha256(key.encode()).hexdigest()}")


def record_key_of(item: Item) -> Key:
    """The key of the idempotency record of a post's or comment's item."""
    return Key(user_partition(str(item["creator"])), str(item["record"]))


def used_key(user: str, key: str) -> Key:
    """The key of the mark of an idempotency key that a deleted account used. It names neither."""
    digest = hashlib.sha256(msgspec.json.encode((user, key))).hexdigest()
    return Key(f"USED#{digest}", "USED")


def usage_key(user: str) -> Key:
    return Key(user_partition(user), "TAKEN")


def account_key(user: str) -> Key:
    """The key of a user's ban, and of the deletion of their account."""
    return Key(user_partition(user), ACCOUNT)


def probe_key(number: int) -> Key:
    return Key(f"PROBE#{number}", "PROBE")


def user_of(key: Key) -> str:
    """The user of a key in a user's partition."""
    return key.pk.removeprefix("USER#")


def post_key_of(comment: Item) -> Key:
    """The key of the post of a comment's item."""
    return Key(str(comment[PK]), POST)


def post_id_of(key: Key) -> str:
    """The id of the post in the key of a post or comment."""
    return key.pk.removeprefix("POST#")


def keyed(key: Key, attributes: Item) -> Item:
    """An item of this key and these attributes."""
    return {PK: key.pk, SK: key.sk, **attributes}


def key_of(item: Item) -> Key:
    return Key(str(item[PK]), str(item[SK]))


def post_item(
    post: Post, upload: Upload | None, *, shards: int, request_id: str, now_ms: int
) -> Item:
    item: Item = {
        "id": post.id,
        "creator": post.creator,
        "latest": "",
        "total": 0,
        "version": 0,
        STREAM_COUNTED: False,
        "rank": rank_key(post.id, CurrentRank(0)),
        "request_id": request_id,
        "since_ms": now_ms,
        **post_attributes(post, shards),
    }
    if post.status in UNFINISHED:
        item |= due_attributes(post.id, now_ms + UNFINISHED_CHECK_MS)
    if upload is None:
        item["staged"] = True
    else:
        item |= _upload_attributes(upload)
    return keyed(post_key(post.id), item)


def post_attributes(post: Post, shards: int) -> Item:
    """The attributes that change with the post; its feed keys if it is ready."""
    attributes: Item = {"status": str(post.status), "head": encode_post(post).decode()}
    if post.status is PostStatus.READY:
        attributes["published"] = True
    return {**attributes, **index_keys(post.id, post.creator, post.status, shards)}


def index_keys(post_id: str, creator: str, status: str, shards: int) -> dict[str, str]:
    """The keys of a post in the feed's indexes if it is ready, else in `unfinished`."""
    if status != PostStatus.READY:
        return {"unfinished": creator_key(creator)}
    shard = crc32(post_id.encode()) % shards
    return {"feed": feed_key(shard), "creator_feed": creator_key(creator)}


def feed_keys(post: Item, shards: int) -> dict[str, str]:
    """The keys of a post in the feed's indexes: its own if it is ready. Those of a hidden post are
    the ones that it gets when it is restored, perhaps during a walk."""
    if "feed" in post:
        return {name: str(post[name]) for name in ("feed", "creator_feed")}
    return index_keys(str(post["id"]), str(post["creator"]), PostStatus.READY, shards)


def due_attributes(post_id: str, at_ms: int) -> Item:
    """The attributes that schedule a check of a post at that time."""
    return {"due": due_key(crc32(post_id.encode()) % DUE_PARTS), "due_at": due_at(at_ms)}


def due_key(part: int) -> str:
    """The key of one partition of `due`; a partition accepts 1,000 writes a second."""
    return f"DUE#{part}"


def due_at(at_ms: int) -> str:
    """The sort key of a time in `due`: texts sort in the order of their times."""
    return f"{at_ms:015d}"


def _upload_attributes(upload: Upload) -> Item:
    attributes: Item = {
        "upload_offset": 0,
        "upload_expires": upload.expires_ms,
        "upload_metadata": upload.metadata,
        "upload_sha256": upload.sha256.hex(),
        "upload_content_type": upload.content_type,
        "ttl": ttl_of(upload.expires_ms),
    }
    if upload.length is not None:
        attributes["upload_length"] = upload.length
    return attributes


def upload_of(item: Item) -> Upload | None:
    """The terms of a post's resumable upload, or None."""
    if "upload_expires" not in item:
        return None
    length = item.get("upload_length")
    return Upload(
        length=None if length is None else int(length),
        expires_ms=int(item["upload_expires"]),
        metadata=str(item["upload_metadata"]),
        sha256=bytes.fromhex(str(item["upload_sha256"])),
        content_type=str(item.get("upload_content_type", "")),
    )


def is_tombstone(item: Item) -> bool:
    """True if the post of the item was deleted."""
    return item["status"] == DELETED


def stored_post(item: Item) -> StoredPost:
    return StoredPost(
        id=str(item["id"]),
        total_comments=int(item["total"]),
        head=_utf8(item["head"]),
        latest=_utf8(item["latest"]),
    )


def comment_item(comment: Comment, request_id: str) -> Item:
    return keyed(
        comment_key(comment.post_id, comment.id),
        {
            **author_attributes(comment.creator, comment.id),
            "creator": comment.creator,
            "doc": encode_comment(comment).decode(),
            "counted": False,
            "request_id": request_id,
        },
    )


def author_attributes(author: str, comment_id: str) -> Item:
    """The keys of a comment in the index of its author's comments."""
    return {"author": author_partition(author), "id": comment_id}


def author_partition(user: str) -> str:
    """The partition of a user's comments in `author`."""
    return f"AUTHOR#{user}"


def gone_item(comment: CommentState, post_id: str, now_ms: int) -> Item:
    """The mark of a deleted comment."""
    deleter = deleter_mark(comment.deleted_by or "")
    mark: Item = {"deleted_by": deleter, "ttl": ttl_of(now_ms + KEPT_MS)}
    return keyed(gone_key(post_id, comment.id), mark)


def deleter_mark(user: str) -> str:
    """The hash that stands for a user in the mark of a deletion, so that no name stays there; a
    hash stands for itself. Empty for the service."""
    if not user or user.startswith(_HASHED):
        return user
    return f"{_HASHED}{hashlib.sha256(user.encode()).hexdigest()}"


def was_deleted_by(item: Item, user: str) -> bool:
    """True if this user deleted the post or comment of an item."""
    return item.get("deleted_by") in {user, deleter_mark(user)}


def comment_id_of(item: Item) -> str:
    return str(item[SK]).removeprefix(COMMENT)


def doc_of(item: Item) -> bytes:
    return _utf8(item["doc"])


def usage_item(user: str, usage: Usage, version: int, now_ms: int) -> Item:
    values = msgspec.structs.asdict(usage)
    lists = {name: msgspec.json.encode(values[name]).decode() for name in _USAGE_LISTS}
    ttl = ttl_of(now_ms + _USAGE_KEPT_MS)
    return keyed(usage_key(user), {**values, **lists, "version": version, "ttl": ttl})


def usage_of(item: Item) -> Usage:
    known = {name: item[name] for name in Usage.__struct_fields__}
    lists = {name: msgspec.json.decode(str(known[name])) for name in _USAGE_LISTS}
    return msgspec.convert({**known, **lists}, Usage)


def rank_key(post_id: str, current: CurrentRank) -> str:
    """A post's sort key in `top`: texts sort in the order of (total, id)."""
    since = f"#{current.since:010d}" if current.since != ALWAYS else ""
    return f"{current.total:010d}#{post_id}{since}"


def current_rank(item: Item) -> CurrentRank:
    """The current rank of a post."""
    rank = ranked(str(item["rank"]))
    return CurrentRank(rank.place.total, rank.since)


def ranked(text: str) -> Ranked:
    """Parse a rank of `rank_key` or `past_rank_item`."""
    total, post_id, *epochs = text.split("#")
    *until, since = map(int, epochs or (ALWAYS,))
    return Ranked(Position(int(total), post_id, *until), since)


def before_place(place: Position) -> str:
    """The exclusive upper bound of the sort keys behind this place. No current rank has the same
    total and id."""
    text = f"{place.total:010d}#{place.id}"
    return f"{text}#{place.until:010d}" if place.until != BEHIND_PAST_RANKS else text


def past_rank_key(post_id: str, until: int) -> Key:
    """The key of the rank that a post had until that epoch."""
    return Key(f"POST#{post_id}", f"{RANK}{until:010d}")


def past_rank_item(past: Ranked, keys: Mapping[str, str]) -> Item:
    """The item of a past rank of a post; `keys` are its `feed_keys`."""
    place = past.place
    return keyed(
        past_rank_key(place.id, place.until),
        {
            "feed": PAST + keys["feed"],
            "creator_feed": PAST + keys["creator_feed"],
            "rank": f"{before_place(place)}#{past.since:010d}",
            "ttl": ttl_of((place.until + PAST_EPOCHS) * EPOCH_MS),
        },
    )


def feed_key(shard: int) -> str:
    return f"FEED#{shard}"


def creator_key(creator: str) -> str:
    return f"CREATOR#{creator}"


def ttl_of(milliseconds: int) -> int:
    """A `ttl` in seconds since 1970, one hour after a time in milliseconds."""
    return milliseconds // 1000 + _GRACE_SECONDS


def _utf8(value: Value) -> bytes:
    return str(value).encode()
