"""Remove what crashes and deletions left behind."""

from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.idempotency import KEPT_MS
from image_poster.ports.cleanup import Cleanup
from image_poster.ports.clock import Clock
from image_poster.ports.picture_store import SweepablePictures
from image_poster.ports.post_store import PostStore
from image_poster.usecases.delete_post import RemoveRemains

_POSTS_AT_A_TIME = 100


class Swept(NamedTuple):
    """How many deleted posts were finished with, and how many orphans were removed."""

    deleted: int
    orphans: int


@dataclass(frozen=True)
class Sweep:
    """Idempotent. Beside running requests, only files older than any of them may be swept: a
    request may be about to write the row of a younger one."""

    posts: PostStore
    pictures: SweepablePictures
    cleanup: Cleanup
    remove_remains: RemoveRemains
    clock: Clock

    async def __call__(self, *, older_than_ms: int) -> Swept:
        """One round over the files from before that time."""
        deleted = await self.finish_deletions()
        orphans = 0
        async for post_id in self.pictures.leftovers(older_than_ms):
            if await self.posts.find(post_id) is None:
                await self.pictures.remove(post_id)
                orphans += 1
        await self.cleanup.forget(self.clock.now_ms() - KEPT_MS)
        return Swept(deleted, orphans)

    async def finish_deletions(self) -> int:
        """Remove what is left of deleted posts; how many those were."""
        count = 0
        while pending := await self.cleanup.pending(_POSTS_AT_A_TIME):
            for post_id in pending:
                await self.remove_remains(post_id)
            count += len(pending)
        return count
