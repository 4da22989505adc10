"""Uploads that may have been abandoned, in memory."""

from image_poster.adapters.memory.state import MemoryState
from image_poster.domain.posts import PostStatus
from image_poster.tus.decisions import Upload


class MemoryAwaitingUploads:
    """`AwaitingUploads` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def all(self) -> list[tuple[str, Upload]]:
        return [
            (post_id, self._state.uploads[post_id])
            for post_id, record in sorted(self._state.posts.items())
            if record.post.status is PostStatus.AWAITING_UPLOAD
        ]
