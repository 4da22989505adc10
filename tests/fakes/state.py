"""The state that the fakes of one test share."""

from dataclasses import dataclass, field, replace

import msgspec

from image_poster.domain import errors
from image_poster.domain.accounts import GOOD_STANDING, Block, Standing, check_may_write
from image_poster.domain.comments import Comment, encode_comment, join_latest
from image_poster.domain.decisions import closes
from image_poster.domain.feed import CurrentRank, Ranked, change_rank, epoch_of
from image_poster.domain.idempotency import AlreadyAnsweredError, IdempotencyRecord
from image_poster.domain.moderation import (
    Action,
    Appeal,
    Decision,
    EntryKind,
    Match,
    NewEntry,
    Report,
    Subject,
    of_owner,
)
from image_poster.domain.posts import Post, PostStatus, StoredPost, encode_post
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


@dataclass(frozen=True)
class MemoryEntry:
    """An entry of the moderation queue; `closed_by` is None while it is open."""

    subject: Subject
    kind: EntryKind
    since: str
    match: Match | None = None
    closed_by: Action | None = None


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
    standings: dict[str, Standing] = field(default_factory=dict)
    blocks: dict[str, dict[str, Block]] = field(default_factory=dict)
    entries: dict[str, MemoryEntry] = field(default_factory=dict)
    reports: dict[str, tuple[Report, str]] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    appeals: dict[str, tuple[Appeal, str]] = field(default_factory=dict)
    image_hashes: dict[str, str] = field(default_factory=dict)
    blocked_hashes: dict[str, str] = field(default_factory=dict)
    used_keys: dict[tuple[str, str], int] = field(default_factory=dict)

    def check_standing(self, user: str, now_ms: int, *, while_banned: bool = False) -> None:
        """Raises `BannedError` and `AccountDeletedError`."""
        standing = self.standings.get(user, GOOD_STANDING)
        check_may_write(standing, now_ms, while_banned=while_banned)

    def check_unblocked(self, author: str, creator: str) -> None:
        """Raises `BlockedError` if one of them blocks the other."""
        blocks = self.blocks.get(author, {}), self.blocks.get(creator, {})
        if author != creator and (creator in blocks[0] or author in blocks[1]):
            raise errors.BlockedError

    def open_entry(self, subject: Subject, new: NewEntry) -> str:
        """The id of the subject's open entry of this kind, which may be the new one."""
        for id_, entry in self.entries.items():
            if (entry.subject, entry.kind, entry.closed_by) == (subject, new.kind, None):
                return id_
        self.entries[new.id] = MemoryEntry(subject, new.kind, new.since, new.match)
        return new.id

    def open_entries(self, subject: Subject) -> dict[str, MemoryEntry]:
        """The subject's open entries by id."""
        return {
            id_: entry
            for id_, entry in self.entries.items()
            if entry.subject == subject and entry.closed_by is None
        }

    def close_entries(self, subject: Subject, action: Action) -> None:
        """Close the subject's open entries after a decision."""
        for id_, entry in self.open_entries(subject).items():
            if closes(action, entry.kind):
                self.entries[id_] = replace(entry, closed_by=action)

    def close_content_entries(self, subject: Subject) -> None:
        """Close the entries of a deleted comment, or of a deleted post and its comments, but for
        appeals."""
        for id_, entry in list(self.entries.items()):
            of = entry.subject
            is_part = of.post_id == subject.post_id and subject.comment_id in (None, of.comment_id)
            is_closable = entry.closed_by is None and entry.kind is not EntryKind.APPEAL
            if of.user is None and is_part and is_closable:
                self.entries[id_] = replace(entry, closed_by=Action.DELETE)

    def log(self, decision: Decision | None, owner: str) -> None:
        """Log a decision by the rule of `of_owner`."""
        owned = of_owner(decision, owner)
        self.decisions += [] if owned is None else [owned]

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
        if record is not None and (record.user, record.key) in self.used_keys:
            raise errors.GoneError

    def keep_record(self, record: IdempotencyRecord | None, now_ms: int) -> None:
        """Store an idempotency record."""
        if record is not None:
            self.records[record.user, record.key] = (record, now_ms)

    def delete_comment(self, post_id: str, comment_id: str, user: str, now_ms: int) -> None:
        """Delete a comment, and all that goes with it, for `user`."""
        del self.comments[post_id][comment_id]
        self.clear_records(comment_id)
        self.close_content_entries(Subject(post_id, comment_id))
        self.recount(post_id, now_ms)
        self.tombstones[comment_id] = Tombstone(user, now_ms, pending=False)

    def delete_post(self, post_id: str, user: str, now_ms: int, *, ended: bool = False) -> None:
        """Delete a post, and all that goes with it but its comments, for `user`."""
        del self.posts[post_id]
        self.clear_records(post_id)
        self.close_content_entries(Subject(post_id))
        self.uploads.pop(post_id, None)
        self.image_hashes.pop(post_id, None)
        self.tombstones[post_id] = Tombstone(user, now_ms, pending=True, ended=ended)

    def forget_user(self, user: str) -> None:
        """Remove a user's blocks, and their name from tombstones."""
        self.blocks.pop(user, None)
        for id_, tombstone in self.tombstones.items():
            if tombstone.user == user:
                self.tombstones[id_] = replace(tombstone, user="")

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

    def replace_post(self, before: Post, after: Post, now_ms: int) -> None:
        """Replace a post, and the state of its job if its status changes."""
        self.change(after.id, post=after)
        if after.status is before.status:
            return
        self.change(after.id, error=None)
        if after.status is PostStatus.PROCESSING:
            self.change(after.id, due_at=now_ms, turn=self.queue_turn(after))
        elif after.status is PostStatus.FAILED:
            self.change(after.id, due_at=now_ms)

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
