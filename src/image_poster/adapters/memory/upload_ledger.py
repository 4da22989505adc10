"""Terms of resumable uploads, in memory."""

import msgspec

from image_poster.adapters.memory.state import MemoryState
from image_poster.domain.posts import PostStatus
from image_poster.ports.upload_ledger import LedgerEntry
from image_poster.tus.errors import UploadGoneError


class MemoryUploadLedger:
    """`UploadLedger` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def find(self, post_id: str) -> LedgerEntry | None:
        if post_id in self._state.tombstones:
            raise UploadGoneError
        upload = self._state.uploads.get(post_id)
        if upload is None:
            return None
        post = self._state.post(post_id)
        return LedgerEntry(post.creator, post.status is PostStatus.AWAITING_UPLOAD, upload)

    async def declare_length(self, post_id: str, length: int) -> None:
        upload = self._state.uploads[post_id]
        if upload.length is None:
            self._state.uploads[post_id] = msgspec.structs.replace(upload, length=length)
