"""What is stored where. Every shape of item and every index, and nothing else, is here.

    item      PK              SK              attributes
    post      POST#{post}     POST            id, status, since_ms, creator, head, latest, total,
                                              version, counted, feed, creator_feed, unfinished,
                                              rank, error, failures, request_id, upload_*, staged,
                                              published, due, due_at, deleted_by, ended, record,
                                              ttl
    comment   POST#{post}     COMMENT#{id}    creator, doc, counted, deleted_by, request_id, record
    gone      POST#{post}     GONE#{id}       deleted_by, ttl: a comment that was deleted
    past rank POST#{post}     RANK#{until}    feed, creator_feed, rank, ttl
    record    USER#{user}     KEY#{SHA-256}   key, fingerprint, body, location, resource,
                                              expires_ms, ttl
    taken     USER#{user}     TAKEN           day, booked, under_way, passed, minute, writes,
                                              writes_before, stopped_until, version, ttl
    probe     PROBE#{number}  PROBE           at_ms: when the table took a write (there are 64)
    healing   HEALING         HEALING         after, started_ms, until_ms: how far the walk is

    index         partition       sort      holds (in a partition of their own, past ranks)
    top           feed            rank      ready posts, most commented first
    new           feed            id        ready posts, newest first
    creator_top   creator_feed    rank      one creator's, most commented first
    creator_new   creator_feed    id        one creator's, newest first
    unfinished    unfinished      id        one creator's that are not ready, newest first
    due           due             due_at    posts that are not at rest, by when to look at them

A post is in the indexes while it has `feed` (FEED#{shard}) and `creator_feed` (CREATOR#{name}),
that is while it is ready; until then it has `unfinished` (CREATOR#{name}). `rank` is its count,
zero-padded, its id, and the epoch since which it holds (without, it holds since always). A past
rank (`domain.feed`) is in the same two indexes, as PAST#FEED#{shard} and PAST#CREATOR#{name}; its
`rank` has `until` before `since`. `version` changes with every change but that of an upload's
offset and refused bytes. `staged` says that the bytes are pieces under `staging/`, not one object
yet. `total` is the number of comments that are `counted`. `record` is the sort key of the
idempotency record of a post or comment, whose `body` goes when that is deleted (`resource` is its
id). A deleted post stays as a tombstone without text until its `ttl`; `ended` says that it was an
upload that had not all its bytes. A post is in `due` (DUE#{part}) while an event is still to come
for it: its image, its image work, or its purge. `published` says that it was shown once, so that a
CDN may have it. A post's `counted` is false after a write of its creator's (but a deletion), for
the stream, and away after the next write.

Sizes (an item has 400 KB at most): ten comments of 2,000 characters of four bytes, a caption and an
alt text are 110 KB at worst; metadata of an upload is bounded by the gateway's 10 KB of headers.
Of a user's name (128 characters) and a key (hashed) the longest make a key of 517 bytes.
"""

import hashlib
from zlib import crc32

import msgspec

from image_poster.adapters.dynamodb.database import PK, SK, Item, Key, Value
from image_poster.domain.comments import Comment, encode_comment
from image_poster.domain.feed import ALWAYS, EPOCH_MS, PAST_EPOCHS, CurrentRank, Position, Ranked
from image_poster.domain.idempotency import KEPT_MS, IdempotencyRecord
from image_poster.domain.posts import Post, PostStatus, StoredPost, encode_post
from image_poster.domain.uploads import Upload
from image_poster.domain.usage import Usage

POST = "POST"
COMMENT = "COMMENT#"
# The first sort key behind those of comments: "$" follows "#".
AFTER_COMMENTS = "COMMENT$"
GONE = "GONE#"
RANK = "RANK#"
PAST = "PAST#"
DELETED = "deleted"
COUNTED = "counted"
DUE_ATTRIBUTES = ("due", "due_at")
DUE_PARTS = 4
UNFINISHED = {PostStatus.AWAITING_UPLOAD, PostStatus.PROCESSING}
# By then the event has come and been dealt with, three times if need be.
UNFINISHED_LOOK_MS = 3600 * 1000
DELETED_LOOK_MS = 5 * 60 * 1000
HEALING_KEY = Key("HEALING", "HEALING")

# TTL takes its time ("within a few days"); what must end in time is compared with `expires_ms`.
_GRACE_SECONDS = 3600
# A day's bytes, and uploads that are kept for a day.
_TAKEN_LISTS = ("under_way", "passed")
_TAKEN_KEPT_MS = 2 * 24 * 3600 * 1000


def post_key(post_id: str) -> Key:
    """Where a post is."""
    return Key(f"POST#{post_id}", POST)


def comment_key(post_id: str, comment_id: str) -> Key:
    """Where a comment is."""
    return Key(f"POST#{post_id}", f"{COMMENT}{comment_id}")


def gone_key(post_id: str, comment_id: str) -> Key:
    """Where it is remembered who deleted a comment."""
    return Key(f"POST#{post_id}", f"{GONE}{comment_id}")


def record_key(user: str, key: str) -> Key:
    """Where an answer is remembered."""
    return Key(f"USER#{user}", f"KEY#{hashlib.sha256(key.encode()).hexdigest()}")


def record_key_of(item: Item) -> Key:
    """The key of the record of the request that created this post or comment."""
    return Key(f"USER#{item['creator']!s}", str(item["record"]))


def taken_key(user: str) -> Key:
    """Where it is kept what a user has taken."""
    return Key(f"USER#{user}", "TAKEN")


def probe_key(number: int) -> Key:
    """Where it is tried whether the table takes writes."""
    return Key(f"PROBE#{number}", "PROBE")


def keyed(key: Key, attributes: Item) -> Item:
    """An item at its place."""
    return {PK: key.pk, SK: key.sk, **attributes}


def key_of(item: Item) -> Key:
    """Where an item is."""
    return Key(str(item[PK]), str(item[SK]))


def post_item(
    post: Post, upload: Upload | None, *, shards: int, request_id: str, now_ms: int
) -> Item:
    """A new post."""
    item: Item = {
        "id": post.id,
        "creator": post.creator,
        "latest": "",
        "total": 0,
        "version": 0,
        COUNTED: False,
        "rank": rank(post.id, CurrentRank(0)),
        "request_id": request_id,
        "since_ms": now_ms,
        **post_attributes(post, shards),
    }
    if post.status in UNFINISHED:
        item |= due_attributes(post.id, now_ms + UNFINISHED_LOOK_MS)
    if upload is None:
        item["staged"] = True
    else:
        item |= _upload_attributes(upload)
    return keyed(post_key(post.id), item)


def post_attributes(post: Post, shards: int) -> Item:
    """What changes with the post itself; its feed keys if it is ready."""
    found: Item = {"status": str(post.status), "head": encode_post(post).decode()}
    if post.status is PostStatus.READY:
        found["feed"] = feed_key(shard_of(post.id, shards))
        found["creator_feed"] = creator_key(post.creator)
        found["published"] = True
    else:
        found["unfinished"] = creator_key(post.creator)
    return found


def due_attributes(post_id: str, at_ms: int) -> Item:
    """What has a post looked at at that time, if no event has brought it to rest before."""
    return {"due": due_key(crc32(post_id.encode()) % DUE_PARTS), "due_at": due_at(at_ms)}


def due_key(part: int) -> str:
    """One part of what is due: a partition takes 1,000 writes a second."""
    return f"DUE#{part}"


def due_at(at_ms: int) -> str:
    """Such texts sort as the times do."""
    return f"{at_ms:015d}"


def _upload_attributes(upload: Upload) -> Item:
    found: Item = {
        "upload_offset": 0,
        "upload_expires": upload.expires_ms,
        "upload_metadata": upload.metadata,
        "upload_sha256": upload.sha256.hex(),
        "upload_content_type": upload.content_type,
        "ttl": ttl_of(upload.expires_ms),
    }
    if upload.length is not None:
        found["upload_length"] = upload.length
    return found


def upload_of(item: Item) -> Upload | None:
    """The terms of a post's upload, if it came as one."""
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


def stored_post(item: Item) -> StoredPost:
    """A post as the services take it."""
    return StoredPost(
        id=str(item["id"]),
        total_comments=int(item["total"]),
        head=_utf8(item["head"]),
        latest=_utf8(item["latest"]),
    )


def comment_item(comment: Comment, request_id: str) -> Item:
    """A new comment."""
    return keyed(
        comment_key(comment.post_id, comment.id),
        {
            "creator": comment.creator,
            "doc": encode_comment(comment).decode(),
            "counted": False,
            "request_id": request_id,
        },
    )


def comment_id_of(item: Item) -> str:
    """The id of a comment's item."""
    return str(item[SK]).removeprefix(COMMENT)


def doc_of(item: Item) -> bytes:
    """The JSON of a comment's item."""
    return _utf8(item["doc"])


def record_item(record: IdempotencyRecord, now_ms: int) -> Item:
    """An answer to be remembered."""
    return keyed(
        record_key(record.user, record.key),
        {
            "user": record.user,
            "key": record.key,
            "fingerprint": record.fingerprint,
            "body": record.body,
            "location": record.location,
            "resource": record.resource,
            "expires_ms": now_ms + KEPT_MS,
            "ttl": ttl_of(now_ms + KEPT_MS),
        },
    )


def record_of(item: Item) -> IdempotencyRecord:
    """An answer that was remembered."""
    fingerprint, body = item["fingerprint"], item.get("body", b"")
    assert isinstance(fingerprint, bytes)  # noqa: S101 - for the type checker: it is stored as binary
    assert isinstance(body, bytes)  # noqa: S101
    return IdempotencyRecord(
        str(item["user"]), str(item["key"]), fingerprint, body, location=str(item["location"])
    )


def taken_item(user: str, taken: Usage, version: int, now_ms: int) -> Item:
    """What a user has taken."""
    values = msgspec.structs.asdict(taken)
    lists = {name: msgspec.json.encode(values[name]).decode() for name in _TAKEN_LISTS}
    ttl = ttl_of(now_ms + _TAKEN_KEPT_MS)
    return keyed(taken_key(user), {**values, **lists, "version": version, "ttl": ttl})


def taken_of(item: Item) -> Usage:
    """What `taken_item` wrote."""
    known = {name: item[name] for name in Usage.__struct_fields__}
    lists = {name: msgspec.json.decode(str(known[name])) for name in _TAKEN_LISTS}
    return msgspec.convert({**known, **lists}, Usage)


def rank(post_id: str, held: CurrentRank) -> str:
    """A post's place in `top`: such texts sort as (total, id) do."""
    since = f"#{held.since:010d}" if held.since != ALWAYS else ""
    return f"{held.total:010d}#{post_id}{since}"


def held_by(item: Item) -> CurrentRank:
    """The rank that a post holds."""
    found = ranked(str(item["rank"]))
    return CurrentRank(found.place.total, found.since)


def ranked(text: str) -> Ranked:
    """The rank that `rank` or `past_rank_item` wrote."""
    total, post_id, *epochs = text.split("#")
    *until, since = map(int, epochs or (ALWAYS,))
    return Ranked(Position(int(total), post_id, *until), since)


def before_place(place: Position) -> str:
    """What ranks behind this place are smaller than. Of those that hold there is none at the same
    total and id."""
    text = f"{place.total:010d}#{place.id}"
    return f"{text}#{place.until:010d}" if place.until != ALWAYS else text


def past_rank_key(post_id: str, until: int) -> Key:
    """The rank that a post had until that epoch."""
    return Key(f"POST#{post_id}", f"{RANK}{until:010d}")


def past_rank_item(past: Ranked, post: Item) -> Item:
    """A rank that a ready post had."""
    place = past.place
    return keyed(
        past_rank_key(place.id, place.until),
        {
            "feed": PAST + str(post["feed"]),
            "creator_feed": PAST + str(post["creator_feed"]),
            "rank": f"{before_place(place)}#{past.since:010d}",
            "ttl": ttl_of((place.until + PAST_EPOCHS) * EPOCH_MS),
        },
    )


def feed_key(shard: int) -> str:
    """One part of the feed."""
    return f"FEED#{shard}"


def creator_key(creator: str) -> str:
    """One creator's feed."""
    return f"CREATOR#{creator}"


def shard_of(post_id: str, shards: int) -> int:
    """Which part of the feed a post is in."""
    return crc32(post_id.encode()) % shards


def ttl_of(milliseconds: int) -> int:
    """A time to live: whole seconds since 1970, somewhat later."""
    return milliseconds // 1000 + _GRACE_SECONDS


def _utf8(value: Value) -> bytes:
    return str(value).encode()
