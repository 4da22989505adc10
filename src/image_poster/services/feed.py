"""The feed."""

from collections.abc import Collection, Hashable
from dataclasses import dataclass

from image_poster.domain.feed import (
    ETAG_EPOCHS,
    Excluded,
    FeedCursor,
    FeedQuery,
    FeedSort,
    epoch_of,
)
from image_poster.domain.posts import PostStatus, StoredPost
from image_poster.domain.signing import CursorSigner, Page
from image_poster.domain.uploads import OwnPost
from image_poster.ports import Clock
from image_poster.ports.accounts import BlockStore
from image_poster.ports.feed import FeedReader
from image_poster.ports.moderation import ReportStore


@dataclass(frozen=True)
class FeedService:
    """Reads the feed: one query a page, two in the middle of a walk."""

    feed: FeedReader
    cursors: CursorSigner
    clock: Clock
    blocks: BlockStore
    reports: ReportStore

    def version(self) -> Hashable | None:
        """A value that changes with the posts and with the epoch; None as `FeedReader.version`.
        Without the epoch, a cached page would always lead to the ranks of its own epoch."""
        version = self.feed.version()
        return None if version is None else (version, epoch_of(self.clock.service_ms()))

    def period(self) -> int:
        """A number that changes every half hour. A cursor issued within the current period is valid
        for half an hour more."""
        return epoch_of(self.clock.service_ms()) // ETAG_EPOCHS

    async def page(
        self, *, sort: FeedSort, limit: int, cursor: str | None, creator: str | None
    ) -> Page[StoredPost, str]:
        """The page after `cursor`, which must come from the same sort and creator; else raises
        `InvalidCursorError`. The page may be shorter than `limit`, even empty, and have a next."""
        list_name = f"feed:{sort}:{creator or ''}"
        after = self.cursors.read(list_name, cursor, FeedCursor)
        epoch = epoch_of(self.clock.service_ms())
        query = FeedQuery(sort=sort, limit=limit, epoch=epoch, creator=creator, after=after)
        return self.cursors.signed(list_name, await self.feed.page(query))

    async def own_posts(
        self, creator: str, statuses: frozenset[PostStatus], *, limit: int, cursor: str | None
    ) -> Page[OwnPost, str]:
        """The creator's posts of these statuses, newest first. Raises `InvalidCursorError`."""
        list_name = f"own:{creator}:{','.join(sorted(statuses))}"
        after = self.cursors.read(list_name, cursor, str)
        page = await self.feed.own_posts(creator, statuses, limit, after)
        return self.cursors.signed(list_name, page)

    async def blocked_by(self, viewer: str) -> frozenset[str]:
        """The users whom the viewer blocks. It changes only with `version`, unless that is None."""
        return await self.blocks.blocked_by(viewer)

    async def excluded(
        self, viewer: str, blocked: frozenset[str], post_ids: Collection[str]
    ) -> Excluded:
        """What `GET /me/feed` omits for this viewer, who blocks these users, from a page with these
        posts."""
        return Excluded(blocked, await self.reports.reported_posts(viewer, post_ids))
