"""Terms of resumable uploads, in memory."""

import msgspec

from image_poster.adapters.memory.state import MemoryState
from image_poster.domain.posts import PostStatus
from image_poster.tus.decisions import Upload


class MemoryUploadLedger:
    """`UploadLedger` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def find(self, post_id: str) -> Upload | None:
        return self._state.uploads.get(post_id)

    async def declare_length(self, post_id: str, length: int) -> None:
        upload = self._state.uploads[post_id]
        if upload.length is None:
            self._state.uploads[post_id] = msgspec.structs.replace(upload, length=length)

    async def was_removed(self, post_id: str) -> bool:
        return post_id in self._state.tombstones

    async def awaiting(self) -> list[tuple[str, Upload]]:
        return [
            (post_id, self._state.uploads[post_id])
            for post_id, record in sorted(self._state.posts.items())
            if record.post.status is PostStatus.AWAITING_UPLOAD
        ]
