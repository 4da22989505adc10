"""In-memory implementations of the ports for unit tests. They pass the same test suites as the
adapters for production."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from image_poster.domain import errors
from image_poster.domain.comments import Comment, encode_comment, join_latest
from image_poster.domain.feed import (
    CurrentRank,
    FeedPage,
    FeedQuery,
    FeedSort,
    Ranked,
    RankSlice,
    change_rank,
    epoch_of,
    page_of,
    position_in,
    with_contents,
)
from image_poster.domain.idempotency import KEPT_MS, AlreadyAnsweredError, IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.ids import EARLIEST_MS, IdSequence, is_over
from image_poster.domain.images import RENDITIONS
from image_poster.domain.limits import UPLOAD_KEPT_MS, take_page
from image_poster.domain.posts import (
    PROCESSING_FAILED,
    Post,
    PostStatus,
    StoredPost,
    check_may_change,
    check_open_for_comments,
    encode_post,
    failed_post,
    is_parked,
    replayed_post,
)
from image_poster.domain.signing import Page
from image_poster.domain.uploads import UnfinishedPost, Upload
from image_poster.ports.clock import Clock
from image_poster.ports.feed import RebuiltBatch
from image_poster.ports.images import FileRecord, StagedImage, StoredFile, Workspace
from image_poster.ports.jobs import Job, ParkedJob
from image_poster.ports.uploads import UploadRecord, UploadWriter


class ManualClock:
    """`Clock` for tests: time passes by `advance` only, and `set_wall` sets the wall clock."""

    def __init__(self, now_ms: int = 1_770_000_000_000) -> None:
        self._now_ms = self._service_ms = now_ms
        self._ids = IdSequence()

    def now_ms(self) -> int:
        return self._now_ms

    def service_ms(self) -> int:
        return self._service_ms

    def new_id(self) -> str:
        return self._ids.next(self._service_ms)

    def advance(self, milliseconds: int) -> None:
        """Advance both clocks."""
        self._now_ms += milliseconds
        self._service_ms += milliseconds

    def set_wall(self, now_ms: int) -> None:
        """Set the wall clock."""
        self._now_ms = now_ms

    def raise_to(self, time_ms: int) -> None:
        """Raise the service clock to `time_ms`, unless it is past that time."""
        self._service_ms = max(self._service_ms, time_ms)


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
    held: dict[str, CurrentRank] = field(default_factory=dict)
    past: list[Ranked] = field(default_factory=list)
    epoch: int = 0

    def recount(self, post_id: str, now_ms: int) -> None:
        """Set a post's rank to the number of its comments."""
        self.epoch = max(self.epoch, epoch_of(now_ms))
        total = len(self.comments.get(post_id, {}))
        held, past = change_rank(post_id, self.held.get(post_id, CurrentRank(0)), total, self.epoch)
        self.held[post_id] = held
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

    def next_turn(self, post: Post) -> int:
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


class MemoryPostStore:
    """`PostStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def add(
        self,
        post: Post,
        record: IdempotencyRecord | None = None,
        upload: Upload | None = None,
        *,
        image_bytes: int = 0,
        instead_of: IdempotencyRecord | None = None,
    ) -> None:
        del image_bytes
        self._state.check_unused(record, instead_of)
        self._state.keep_record(record, self._clock.service_ms())
        if upload is not None:
            self._state.uploads.setdefault(post.id, upload)
        new = PostRecord(post, due_at=self._clock.service_ms(), turn=self._state.next_turn(post))
        self._state.posts.setdefault(post.id, new)

    async def find(self, post_id: str) -> StoredPost | None:
        return self._state.stored(post_id) if post_id in self._state.posts else None

    async def is_ready(self, post_id: str) -> bool:
        record = self._state.posts.get(post_id)
        return record is not None and record.post.status is PostStatus.READY

    async def was_deleted(self, post_id: str) -> bool:
        return post_id in self._state.tombstones

    async def was_aborted(self, post_id: str) -> bool:
        found = self._state.tombstones.get(post_id)
        return found is not None and found.ended

    async def update(
        self, post_id: str, change: Callable[[Post], Post], *, files: Sequence[FileRecord] = ()
    ) -> StoredPost:
        del files
        before = self._state.post(post_id)
        after = change(before)
        self._state.change(post_id, post=after)
        if after.status != before.status:
            self._state.change(post_id, error=None)
        if after.status is PostStatus.PROCESSING is not before.status:
            turn = self._state.next_turn(after)
            self._state.change(post_id, due_at=self._clock.service_ms(), turn=turn)
        return self._state.stored(post_id)

    async def remove(self, post_id: str, by: Identity, *, ended: bool = False) -> None:
        if post_id not in self._state.posts:
            tombstone = self._state.tombstones.get(post_id)
            if tombstone is not None and tombstone.user == by.user:
                return
            raise errors.PostNotFoundError
        post = self._state.post(post_id)
        check_may_change(post, by)
        del self._state.posts[post_id]
        self._state.clear_records(post_id)
        self._state.uploads.pop(post_id, None)
        ended &= post.status is PostStatus.AWAITING_UPLOAD
        found = Tombstone(by.user, self._clock.service_ms(), pending=True, ended=ended)
        self._state.tombstones[post_id] = found


class MemoryCommentStore:
    """`CommentStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def add(self, comment: Comment, record: IdempotencyRecord | None = None) -> None:
        self._state.check_unused(record)
        post = self._state.post(comment.post_id)
        check_open_for_comments(post.status, post.creator, comment.creator)
        self._state.keep_record(record, self._clock.service_ms())
        self._state.comments.setdefault(comment.post_id, {})[comment.id] = comment
        self._state.recount(comment.post_id, self._clock.service_ms())

    async def page(self, post_id: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        newest = self._state.newest_comments(post_id)
        older = [comment for comment in newest if after is None or comment.id < after]
        shown, more = take_page(older, limit, lambda comment: len(encode_comment(comment)))
        following = shown[-1].id if more else None
        return Page([encode_comment(comment) for comment in shown], following)

    async def find(self, post_id: str, comment_id: str) -> bytes:
        comment = self._state.comments.get(post_id, {}).get(comment_id)
        if comment is None:
            raise errors.CommentNotFoundError
        return encode_comment(comment)

    async def update(
        self, post_id: str, comment_id: str, change: Callable[[Comment], Comment]
    ) -> Comment:
        changed = change(self._comment(post_id, comment_id))
        self._state.comments[post_id][comment_id] = changed
        return changed

    async def remove(self, post_id: str, comment_id: str, by: Identity) -> None:
        tombstone = self._state.tombstones.get(comment_id)
        if tombstone is not None and tombstone.user == by.user:
            return
        comment = self._comment(post_id, comment_id)
        by.require(comment.creator, self._state.post(post_id).creator)
        del self._state.comments[post_id][comment_id]
        self._state.clear_records(comment_id)
        self._state.recount(post_id, self._clock.service_ms())
        self._state.tombstones[comment_id] = Tombstone(
            by.user, self._clock.service_ms(), pending=False
        )

    def _comment(self, post_id: str, comment_id: str) -> Comment:
        if self._state.post(post_id).status is not PostStatus.READY:
            raise errors.PostNotFoundError
        comment = self._state.comments.get(post_id, {}).get(comment_id)
        if comment is None:
            raise errors.CommentNotFoundError
        return comment


class MemoryFeedReader:
    """`FeedReader` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    def version(self) -> int | None:
        return None

    async def page(self, query: FeedQuery) -> FeedPage:
        contents = {
            post_id: self._state.stored(post_id)
            for post_id, record in self._state.posts.items()
            if record.post.status is PostStatus.READY
            and query.creator in (None, record.post.creator)
        }
        holding = [self._ranked(query.sort, stored) for stored in contents.values()]
        past = [rank for rank in self._state.past if rank.place.id in contents]
        sources = [_stretch(query, holding), _stretch(query, past if query.as_of else [])]
        return with_contents(query, sources, page_of(query, sources), contents)

    def _ranked(self, sort: FeedSort, stored: StoredPost) -> Ranked:
        held = self._state.held.get(stored.id, CurrentRank(0))
        return Ranked(position_in(sort, stored.total_comments, stored.id), held.since)

    async def unfinished(
        self, creator: str, limit: int, after: str | None
    ) -> Page[UnfinishedPost, str]:
        ids = sorted(
            (
                post_id
                for post_id, record in self._state.posts.items()
                if record.post.creator == creator
                and record.post.status is not PostStatus.READY
                and (after is None or post_id < after)
            ),
            reverse=True,
        )
        uploads = self._state.uploads
        shown = [UnfinishedPost(self._state.stored(one), uploads.get(one)) for one in ids[:limit]]
        return Page(shown, ids[limit - 1] if len(ids) > limit else None)


def _stretch(query: FeedQuery, ranks: list[Ranked]) -> RankSlice:
    ranks = [one for one in ranks if query.before is None or one.place < query.before]
    ranks.sort(reverse=True)
    if len(ranks) <= query.max_entries:
        return RankSlice(ranks, None)
    looked_at = ranks[: query.max_entries]
    return RankSlice(looked_at, looked_at[-1].place)


class MemoryFeedRebuilder:
    """`FeedRebuilder` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        ids = sorted(key for key in self._state.posts if after is None or key > after)[:limit]
        return RebuiltBatch(len(ids), [], ids[-1] if ids else None)


class MemoryJobQueue:
    """`JobQueue` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def lease(self, lease_ms: int) -> Job | None:
        now = self._clock.service_ms()
        due = [
            record
            for record in self._state.posts.values()
            if record.post.status is PostStatus.PROCESSING and record.due_at <= now
        ]
        if not due:
            return None
        first = min(due, key=lambda record: (record.turn, record.due_at, record.post.id))
        job = Job(first.post.id, first.leases + 1, first.failures)
        self._state.change(job.post_id, due_at=now + lease_ms, leases=job.leases)
        return job

    async def retry(self, job: Job, *, delay_ms: int, error: str) -> None:
        if self._is_processing(job.post_id):
            due_at = self._clock.service_ms() + delay_ms
            failures = job.failures + 1
            self._state.change(job.post_id, due_at=due_at, error=error, failures=failures)

    async def postpone(self, job: Job, *, delay_ms: int, error: str) -> None:
        if self._is_processing(job.post_id):
            due_at = self._clock.service_ms() + delay_ms
            self._state.change(job.post_id, due_at=due_at, error=error, leases=job.leases - 1)

    async def park(self, job: Job, *, error: str) -> None:
        if self._is_processing(job.post_id):
            parked = failed_post(self._state.post(job.post_id), PROCESSING_FAILED)
            self._state.change(job.post_id, post=parked, error=error)

    async def parked(self) -> list[ParkedJob]:
        return [
            ParkedJob(post_id, record.leases, record.error or "")
            for post_id, record in sorted(self._state.posts.items())
            if is_parked(record.post)
        ]

    async def replay(self, post_id: str) -> bool:
        record = self._state.posts.get(post_id)
        if record is None or not is_parked(record.post):
            return False
        due_at = self._clock.service_ms()
        post = replayed_post(record.post)
        fresh = PostRecord(post, due_at=due_at, turn=self._state.next_turn(post))
        self._state.posts[post_id] = fresh
        return True

    def _is_processing(self, post_id: str) -> bool:
        record = self._state.posts.get(post_id)
        return record is not None and record.post.status is PostStatus.PROCESSING


class MemoryTombstoneQueue:
    """`TombstoneQueue` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def pending(self, limit: int, after: str = "") -> list[str]:
        stones = self._state.tombstones.items()
        return sorted(key for key, stone in stones if stone.pending and key > after)[:limit]

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        of_post = self._state.comments.get(post_id, {})
        gone = list(of_post)[:limit]
        for comment_id in gone:
            del of_post[comment_id]
            self._state.clear_records(comment_id)
        return bool(gone)

    async def mark_purged(self, post_id: str) -> None:
        stone = self._state.tombstones[post_id]
        self._state.tombstones[post_id] = replace(stone, pending=False)
        self._state.comments.pop(post_id, None)

    async def forget(self, *, service_ms: int, now_ms: int) -> None:
        times = {"service_ms": service_ms, "now_ms": now_ms}
        self._correct_times(service_ms)
        for key, stone in list(self._state.tombstones.items()):
            if is_over(stone.deleted_at, KEPT_MS, **times) and not stone.pending:
                del self._state.tombstones[key]
        for used, (_, kept_at) in list(self._state.records.items()):
            if is_over(kept_at, KEPT_MS, **times):
                del self._state.records[used]

    def _correct_times(self, service_ms: int) -> None:
        """Restart lifetimes that began in 1970, by a wrong clock, once the clock is right."""
        if service_ms < EARLIEST_MS:
            return
        for key, stone in self._state.tombstones.items():
            if stone.deleted_at < EARLIEST_MS:
                self._state.tombstones[key] = replace(stone, deleted_at=service_ms)
        for used, (record, kept_at) in self._state.records.items():
            if kept_at < EARLIEST_MS:
                self._state.records[used] = (record, service_ms)


_ORIGINAL = "original"
_UPLOAD = "upload"


class _MemoryFile:
    place: str | None = None

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)
        self.etag = hashlib.sha256(content).hexdigest()[:32]

    async def read(self, start: int, length: int) -> bytes:
        return self._content[start : start + length]

    def close(self) -> None:
        """Do nothing."""


class _MemoryStaged:
    def __init__(self, store: "MemoryImageStore", post_id: str) -> None:
        self._store = store
        self._post_id = post_id
        self._received = bytearray()

    async def write(self, chunk: bytes) -> None:
        self._received += chunk

    async def commit(self) -> None:
        self._store.keep(self._post_id, _ORIGINAL, bytes(self._received))

    async def discard(self) -> None:
        self._received.clear()


class MemoryImageStore:
    """`ImageStore` in a dictionary. Image work still needs files, in a temporary folder."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._quarantine: dict[tuple[str, str, int], bytes] = {}

    def keep(self, post_id: str, name: str, content: bytes) -> None:
        """Store one file of a post."""
        self._files[post_id, name] = (content, self._clock.now_ms())

    def received(self, post_id: str) -> bytes:
        """The received bytes of a resumable upload, also after it has become the original."""
        nothing = (b"", 0)
        original = self._files.get((post_id, _ORIGINAL), nothing)
        return self._files.get((post_id, _UPLOAD), original)[0]

    def receive(self, post_id: str, content: bytes) -> None:
        """Replace the received bytes of a resumable upload."""
        self.keep(post_id, _UPLOAD, content)

    def promote(self, post_id: str) -> None:
        """Make the upload the original."""
        if (post_id, _UPLOAD) in self._files:
            self._files[post_id, _ORIGINAL] = self._files.pop((post_id, _UPLOAD))

    def stage(self, post_id: str) -> StagedImage:
        return _MemoryStaged(self, post_id)

    @asynccontextmanager
    async def workspace(self, post_id: str) -> AsyncIterator[Workspace]:
        original = self._content(post_id, _ORIGINAL)
        with tempfile.TemporaryDirectory(prefix="image-poster-") as folder:
            work = Workspace(Path(folder, _ORIGINAL), Path(folder))
            work.original.write_bytes(original)
            yield work

    async def publish(self, post_id: str, work: Workspace) -> tuple[()]:
        for name in RENDITIONS:
            self.keep(post_id, name, (work.folder / f"{name}.jpg").read_bytes())
        return ()

    async def has_original(self, post_id: str) -> bool:
        return (post_id, _ORIGINAL) in self._files

    async def has_arrived(self, post_id: str) -> bool:
        del post_id
        return False

    async def open_original(self, post_id: str) -> StoredFile:
        return _MemoryFile(self._content(post_id, _ORIGINAL))

    async def open_rendition(self, post_id: str, rendition: str) -> StoredFile:
        return _MemoryFile(self._content(post_id, rendition))

    async def remove(self, post_id: str) -> None:
        for name in (_UPLOAD, _ORIGINAL, *RENDITIONS):
            self._files.pop((post_id, name), None)
        self._drop(post_id, None)

    async def leftovers(self, older_than_ms: int) -> AsyncIterator[str]:
        kept = self._files.items()
        for post_id in sorted({key[0] for key, (_, since) in kept if since < older_than_ms}):
            yield post_id

    async def quarantine(self, post_id: str, now_ms: int) -> int:
        names = [name for of, name in self._files if of == post_id]
        for name in names:
            self._quarantine[post_id, name, now_ms] = self._files.pop((post_id, name))[0]
        return len(names)

    async def quarantined(self, before_ms: int) -> AsyncIterator[str]:
        for post_id in sorted({of for of, _, moved_ms in self._quarantine if moved_ms < before_ms}):
            yield post_id

    async def put_back(self, post_id: str, *, awaiting: bool) -> int:
        kept = [key for key in self._quarantine if key[0] == post_id]
        count = 0
        for key in sorted(kept, key=lambda one: one[2], reverse=True):
            name = key[1]
            if (post_id, name) not in self._files and (awaiting or name != _UPLOAD):
                self.keep(post_id, name, self._quarantine.pop(key))
                count += 1
        return count

    async def purge(self, post_id: str, before_ms: int) -> int:
        return self._drop(post_id, before_ms)

    def _drop(self, post_id: str, before_ms: int | None) -> int:
        dropped = [
            key
            for key in self._quarantine
            if key[0] == post_id and (before_ms is None or key[2] < before_ms)
        ]
        for key in dropped:
            del self._quarantine[key]
        return len(dropped)

    def _content(self, post_id: str, name: str) -> bytes:
        try:
            return self._files[post_id, name][0]
        except KeyError as exc:
            raise errors.ImageNotFoundError from exc


class _MemoryWriter:
    def __init__(self, store: "MemoryUploadStore", post_id: str) -> None:
        images = store.images
        self.superseded = False
        self.offset = len(images.received(post_id))
        self._store = store
        self._images = images
        self._post_id = post_id
        self._task = asyncio.current_task()

    def give_up(self) -> None:
        """Stop writing: another writer has superseded this one. Cancels its task."""
        self.superseded = True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def write(self, chunk: bytes) -> None:
        self._check()
        self._images.receive(self._post_id, self._images.received(self._post_id) + chunk)
        self.offset += len(chunk)

    async def rewind(self, offset: int) -> None:
        self._check()
        self._images.receive(self._post_id, self._images.received(self._post_id)[:offset])
        self.offset = offset

    async def commit(self) -> None:
        """Do nothing: `write` has stored the bytes."""

    async def close(self) -> None:
        self._store.release(self._post_id, self)

    def _check(self) -> None:
        if self.superseded:
            raise errors.UploadTakenOverError


class MemoryUploadStore:
    """`UploadStore` over a `MemoryImageStore`."""

    def __init__(self, images: MemoryImageStore) -> None:
        self.images = images
        self._writers: dict[str, _MemoryWriter] = {}

    async def take(
        self, post_id: str, *, unverified: bool = False, offset_hint: int | None = None
    ) -> UploadWriter:
        del (
            unverified,
            offset_hint,
        )  # nothing survives a crash here, and the bytes tell where they end
        former = self._writers.get(post_id)
        if former is not None:
            former.give_up()
        self._writers[post_id] = _MemoryWriter(self, post_id)
        return self._writers[post_id]

    async def offset(self, post_id: str, *, offset_hint: int | None = None) -> int:
        del offset_hint  # the bytes themselves tell
        writer = await self.take(post_id)
        await writer.close()
        return writer.offset

    async def received(self, post_id: str) -> int:
        return len(self.images.received(post_id))

    async def promote(self, post_id: str, sha256: bytes) -> None:
        received = self.images.received(post_id)
        if sha256 and hashlib.sha256(received).digest() != sha256:
            self.images.receive(post_id, b"")
            raise errors.ChecksumMismatchError
        self.images.promote(post_id)

    def release(self, post_id: str, writer: _MemoryWriter) -> None:
        """Remove a writer, unless another has superseded it."""
        if self._writers.get(post_id) is writer:
            del self._writers[post_id]


class MemoryUploadRecordStore:
    """`UploadRecordStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def find(self, post_id: str) -> UploadRecord | None:
        if post_id in self._state.tombstones:
            raise errors.UploadGoneError
        upload = self._state.uploads.get(post_id)
        if upload is None:
            return None
        post = self._state.post(post_id)
        return UploadRecord(post.creator, post.status is PostStatus.AWAITING_UPLOAD, upload)

    async def count_refused(self, post_id: str, size: int) -> int:
        post = self._state.posts.get(post_id)
        awaiting = post is not None and post.post.status is PostStatus.AWAITING_UPLOAD
        if post_id not in self._state.uploads or not awaiting:
            return 0
        self._state.refused_bytes[post_id] = self._state.refused_bytes.get(post_id, 0) + size
        return self._state.refused_bytes[post_id]

    async def declare_length(self, post_id: str, length: int) -> None:
        upload = self._state.uploads[post_id]
        if upload.length is None:
            self._state.uploads[post_id] = msgspec.structs.replace(upload, length=length)

    async def awaiting(self, after: str, limit: int) -> list[tuple[str, Upload]]:
        found = [
            (post_id, self._state.uploads[post_id])
            for post_id, record in sorted(self._state.posts.items())
            if record.post.status is PostStatus.AWAITING_UPLOAD and post_id > after
        ]
        return found[:limit]

    async def set_expiry(self, post_id: str, expires_ms: int) -> None:
        self._change(post_id, expires_ms=expires_ms)

    async def move_expiries(self, by_ms: int, *, before_ms: int) -> None:
        for post_id, upload in await self.awaiting("", len(self._state.posts)):
            if before_ms <= upload.expires_ms <= before_ms + UPLOAD_KEPT_MS:
                self._change(post_id, expires_ms=upload.expires_ms + by_ms)

    def _change(self, post_id: str, expires_ms: int) -> None:
        upload = self._state.uploads[post_id]
        self._state.uploads[post_id] = msgspec.structs.replace(upload, expires_ms=expires_ms)
