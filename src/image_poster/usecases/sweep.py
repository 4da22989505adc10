"""Clear away what crashes and deletions left behind.

Only what is known to have been deleted is deleted. Files of posts that the database does not know
are moved to quarantine: a crash may have left them, but the database may also be empty, or an older
copy. They are deleted `QUARANTINE_KEPT_MS` later, if no post has come to ask for them.
"""

from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.idempotency import KEPT_MS
from image_poster.ports.clock import Clock
from image_poster.ports.images import SweepableImages
from image_poster.ports.posts import PostStore, TombstoneQueue
from image_poster.usecases.delete_post import RemoveRemains

QUARANTINE_KEPT_MS = 7 * 24 * 3600 * 1000
_POSTS_AT_A_TIME = 100


class Swept(NamedTuple):
    """How many deleted posts were finished with, how many files of unknown posts were moved to
    quarantine, and how many were deleted there."""

    deleted: int
    quarantined: int
    purged: int


@dataclass(frozen=True)
class Sweep:
    """Idempotent. Beside running requests, only files older than any of them may be swept: a
    request may be about to write the row of a younger one."""

    posts: PostStore
    pictures: SweepableImages
    cleanup: TombstoneQueue
    remove_remains: RemoveRemains
    clock: Clock

    async def __call__(self, *, older_than_ms: int) -> Swept:
        """One round over the files from before that time. What may be deleted goes first: moving
        needs room on the disk."""
        deleted = await self.finish_deletions()
        purged = await self._purge()
        quarantined = 0
        async for post_id in self.pictures.leftovers(older_than_ms):
            if await self.posts.find(post_id) is None:
                quarantined += await self._clear(post_id)
        await self.cleanup.forget(self.clock.now_ms() - KEPT_MS)
        return Swept(deleted, quarantined, purged)

    async def _purge(self) -> int:
        before_ms, count = self.clock.now_ms() - QUARANTINE_KEPT_MS, 0
        async for post_id in self.pictures.quarantined(before_ms):
            if not await self.is_asked_for(post_id):
                count += await self.pictures.purge(post_id, before_ms)
        return count

    async def is_asked_for(self, post_id: str) -> bool:
        """Whether there is a post that lacks its original: the right database has come back, and
        its files have not yet."""
        if await self.posts.find(post_id) is None:
            return False
        return not await self.pictures.has_original(post_id)

    async def _clear(self, post_id: str) -> int:
        """How many files were moved to quarantine."""
        if await self.posts.was_deleted(post_id):
            await self.pictures.remove(post_id)
            return 0
        return await self.pictures.quarantine(post_id, self.clock.now_ms())

    async def finish_deletions(self) -> int:
        """Remove what is left of deleted posts; how many those were."""
        count = 0
        while pending := await self.cleanup.pending(_POSTS_AT_A_TIME):
            for post_id in pending:
                await self.remove_remains(post_id)
            count += len(pending)
        return count
