"""The state that the fakes of one test share."""

from dataclasses import dataclass, field, replace

import msgspec

from image_poster.domain import errors
from image_poster.domain.comments import Comment, encode_comment, join_latest
from image_poster.domain.feed import (
    CurrentRank,
    Ranked,
    change_rank,
    epoch_of,
)
from image_poster.domain.idempotency import AlreadyAnsweredError, IdempotencyRecord
from image_poster.domain.posts import (
    Post,
    PostStatus,
    StoredPost,
    encode_post,
)
from image_poster.domain.uploads import Upload


@dataclass(frozen=True)
class PostRecord:
    """A post and its job's state. `MemoryState.comments` has its comments."""

    post: Post
    due_at: int = 0
    turn: int = 0
    leases: int = 0
    failures: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Tombstone:
    """The user and time of a deletion; `pending` until the purge is complete."""

    user: str
    deleted_at: int
    pending: bool
    ended: bool = False


@dataclass
class MemoryState:
    """Posts and tombstones by id, comments by post id and comment id."""

    posts: dict[str, PostRecord] = field(default_factory=dict)
    comments: dict[str, dict[str, Comment]] = field(default_factory=dict)
    tombstones: dict[str, Tombstone] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    refused_bytes: dict[str, int] = field(default_factory=dict)
    records: dict[tuple[str, str], tuple[IdempotencyRecord, int]] = field(default_factory=dict)
    ranks: dict[str, CurrentRank] = field(default_factory=dict)
    past: list[Ranked] = field(default_factory=list)
    epoch: int = 0

    def recount(self, post_id: str, now_ms: int) -> None:
        """Set a post's rank to the number of its comments."""
        self.epoch = max(self.epoch, epoch_of(now_ms))
        total = len(self.comments.get(post_id, {}))
        rank, past = change_rank(
            post_id, self.ranks.get(post_id, CurrentRank(0)), total, self.epoch
        )
        self.ranks[post_id] = rank
        self.past += [past] if past is not None else []

    def check_unused(
        self, record: IdempotencyRecord | None, instead_of: IdempotencyRecord | None = None
    ) -> None:
        """Raises `AlreadyAnsweredError` if the record's key was used, unless by `instead_of`."""
        former = self.records.get((record.user, record.key)) if record else None
        if former is not None and former[0] != instead_of:
            raise AlreadyAnsweredError(former[0])

    def keep_record(self, record: IdempotencyRecord | None, now_ms: int) -> None:
        """Store an idempotency record."""
        if record is not None:
            self.records[record.user, record.key] = (record, now_ms)

    def clear_records(self, id_: str) -> None:
        """Remove the bodies of idempotency records of a deleted post or comment."""
        for used, (record, at) in self.records.items():
            if record.resource == id_:
                self.records[used] = (msgspec.structs.replace(record, body=b""), at)

    def post(self, post_id: str) -> Post:
        """The post. Raises `PostNotFoundError`."""
        if post_id not in self.posts:
            raise errors.PostNotFoundError
        return self.posts[post_id].post

    def change(self, post_id: str, **changes: object) -> None:
        """Replace fields of a post's record."""
        self.posts[post_id] = replace(self.posts[post_id], **changes)  # type: ignore[arg-type]

    def queue_turn(self, post: Post) -> int:
        """The turn of a new job: one after the same user's last waiting job, else the lowest turn
        of all waiting jobs."""
        waiting = [
            record
            for record in self.posts.values()
            if record.post.status is PostStatus.PROCESSING and record.post.id != post.id
        ]
        own = [record.turn for record in waiting if record.post.creator == post.creator]
        return max(own) + 1 if own else min((record.turn for record in waiting), default=0)

    def newest_comments(self, post_id: str) -> list[Comment]:
        """All comments of a post, newest first."""
        of_post = self.comments.get(post_id, {})
        return [of_post[key] for key in sorted(of_post, reverse=True)]

    def stored(self, post_id: str) -> StoredPost:
        """The post as a store returns it, with its count derived from the comments."""
        newest = self.newest_comments(post_id)
        return StoredPost(
            id=post_id,
            total_comments=len(newest),
            head=encode_post(self.post(post_id)),
            latest=join_latest(encode_comment(comment) for comment in newest),
        )
