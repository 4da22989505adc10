"""Remains of deleted posts, in memory."""

from dataclasses import replace

from image_poster.adapters.memory.state import MemoryState


class MemoryCleanup:
    """`Cleanup` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def pending(self, limit: int) -> list[str]:
        waiting = [key for key, stone in self._state.tombstones.items() if stone.pending]
        return sorted(waiting, key=lambda key: (self._state.tombstones[key].deleted_at, key))[
            :limit
        ]

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        of_post = self._state.comments.get(post_id, {})
        gone = list(of_post)[:limit]
        for comment_id in gone:
            del of_post[comment_id]
        return bool(gone)

    async def done(self, post_id: str) -> None:
        stone = self._state.tombstones[post_id]
        self._state.tombstones[post_id] = replace(stone, pending=False)
        self._state.comments.pop(post_id, None)

    async def forget(self, before_ms: int) -> None:
        for key, stone in list(self._state.tombstones.items()):
            if stone.deleted_at < before_ms and not stone.pending:
                del self._state.tombstones[key]
        for used, (_, kept_at) in list(self._state.receipts.items()):
            if kept_at < before_ms:
                del self._state.receipts[used]
