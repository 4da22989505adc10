"""Counts in memory are derived whenever they are read, so there is nothing that could drift."""

from image_poster.adapters.memory.state import MemoryState
from image_poster.ports.projection import RebuiltBatch


class MemoryProjection:
    """`Projection` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        ids = sorted(key for key in self._state.posts if after is None or key > after)[:limit]
        return RebuiltBatch(len(ids), [], ids[-1] if ids else None)
