"""Posts in memory."""

from collections.abc import Callable

from image_poster.adapters.memory.state import MemoryState, PostRecord, Tombstone
from image_poster.domain.errors import PostNotFoundError
from image_poster.domain.idempotency import Receipt
from image_poster.domain.identity import Identity
from image_poster.domain.posts import Post, PostStatus, StoredPost, check_visible
from image_poster.ports.clock import Clock
from image_poster.tus.decisions import Upload


class MemoryPostStore:
    """`PostStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def add(
        self, post: Post, receipt: Receipt | None = None, upload: Upload | None = None
    ) -> None:
        self._state.check_unused(receipt)
        self._state.keep_receipt(receipt, self._clock.now_ms())
        if upload is not None:
            self._state.uploads.setdefault(post.id, upload)
        self._state.posts.setdefault(post.id, PostRecord(post, due_at=self._clock.now_ms()))

    async def find(self, post_id: str) -> StoredPost | None:
        return self._state.stored(post_id) if post_id in self._state.posts else None

    async def was_deleted(self, post_id: str) -> bool:
        return post_id in self._state.tombstones

    async def update(self, post_id: str, change: Callable[[Post], Post]) -> StoredPost:
        before = self._state.post(post_id)
        after = change(before)
        self._state.change(post_id, post=after)
        if after.status != before.status:
            self._state.change(post_id, error=None)
        if after.status is PostStatus.PROCESSING is not before.status:
            self._state.change(post_id, due_at=self._clock.now_ms())
        return self._state.stored(post_id)

    async def remove(self, post_id: str, by: Identity) -> None:
        if post_id not in self._state.posts:
            tombstone = self._state.tombstones.get(post_id)
            if tombstone is not None and tombstone.user == by.user:
                return
            raise PostNotFoundError
        post = self._state.post(post_id)
        if not by.admin:
            check_visible(post, by)
        by.require(post.creator)
        del self._state.posts[post_id]
        self._state.uploads.pop(post_id, None)
        self._state.tombstones[post_id] = Tombstone(by.user, self._clock.now_ms(), pending=True)
