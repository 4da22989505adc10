"""Posts and tombstones in memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from fakes.state import MemoryState, PostRecord
from image_poster.domain import errors
from image_poster.domain.idempotency import KEPT_MS, IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.ids import EARLIEST_MS, is_over
from image_poster.domain.moderation import Decision, ModerationRecords, Subject
from image_poster.domain.posts import Post, PostStatus, StoredPost, check_may_change
from image_poster.domain.uploads import Upload
from image_poster.ports import Clock
from image_poster.ports.images import FileRecord
from image_poster.ports.posts import NO_RECORDS


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
        self._state.check_standing(post.creator, self._clock.now_ms())
        self._state.keep_record(record, self._clock.service_ms())
        if upload is not None:
            self._state.uploads.setdefault(post.id, upload)
        new = PostRecord(post, due_at=self._clock.service_ms(), turn=self._state.queue_turn(post))
        self._state.posts.setdefault(post.id, new)

    async def find(self, post_id: str) -> StoredPost | None:
        return self._state.stored(post_id) if post_id in self._state.posts else None

    async def is_ready(self, post_id: str) -> bool:
        record = self._state.posts.get(post_id)
        return record is not None and record.post.status is PostStatus.READY

    async def was_deleted(self, post_id: str) -> bool:
        return post_id in self._state.tombstones

    async def was_aborted(self, post_id: str) -> bool:
        tombstone = self._state.tombstones.get(post_id)
        return tombstone is not None and tombstone.ended

    async def update(
        self,
        post_id: str,
        change: Callable[[Post], Post],
        *,
        files: Sequence[FileRecord] = (),
        image_hash: str = "",
        records: ModerationRecords = NO_RECORDS,
    ) -> StoredPost:
        del files
        before = self._state.post(post_id)
        after = change(before)
        self._state.replace_post(before, after, self._clock.service_ms())
        if image_hash:
            self._state.image_hashes[post_id] = image_hash
        if after != before:
            self._state.log(records.decision, after.creator)
            if records.entry is not None:
                self._state.open_entry(Subject(post_id), records.entry)
        return self._state.stored(post_id)

    async def remove(
        self,
        post_id: str,
        by: Identity,
        *,
        ended: bool = False,
        decision: Decision | None = None,
    ) -> None:
        if post_id not in self._state.posts:
            tombstone = self._state.tombstones.get(post_id)
            if tombstone is not None and tombstone.user == by.user:
                return
            raise errors.PostNotFoundError
        post = self._state.post(post_id)
        check_may_change(post, by)
        ended &= post.status is PostStatus.AWAITING_UPLOAD
        self._state.delete_post(post_id, by.user, self._clock.service_ms(), ended=ended)
        self._state.log(decision, post.creator)


class MemoryTombstoneQueue:
    """`TombstoneQueue` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def pending(self, limit: int, after: str = "", *, by: str | None = None) -> list[str]:
        ids = [
            post_id
            for post_id, stone in self._state.tombstones.items()
            if stone.pending and post_id > after and by in (None, stone.user)
        ]
        return sorted(ids)[:limit]

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
        for used, kept_at in list(self._state.used_keys.items()):
            if is_over(kept_at, KEPT_MS, **times):
                del self._state.used_keys[used]

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
