"""The feed, and the part of a post that follows from its comments."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from image_poster.domain.feed import FeedPage, FeedQuery
from image_poster.domain.signing import Page
from image_poster.domain.uploads import UnfinishedPost


class FeedReader(Protocol):
    """Reads the ready posts in either order, at a cost that depends on the page's length only."""

    def version(self) -> int | None:
        """A number that changes with every write that could change a page, so that pages can be
        remembered meanwhile; None where that cannot be told for less than the page itself."""
        ...

    async def page(self, query: FeedQuery) -> FeedPage:
        """The page that `query` asks for, as `domain.feed` says: a walk over `top` from page to
        page shows each post once, and none is missed that was there at its first page, whatever is
        written meanwhile. A page may be empty and yet have a next."""
        ...

    async def unfinished(
        self, creator: str, limit: int, after: str | None
    ) -> Page[UnfinishedPost, str]:
        """The creator's posts that are not ready, newest first, after the id `after`."""
        ...


class Drift(NamedTuple):
    """A post whose kept count or latest comments were not what its comments say."""

    post_id: str
    total_was: int
    total_is: int


class TimeRepair(NamedTuple):
    """A post with times of a wrong clock: in so many `documents`, its own or its comments', or
    (`was_ahead`) its newest comment or its rank was of a later epoch than the feed."""

    post_id: str
    documents: int
    was_ahead: bool


class RebuiltBatch(NamedTuple):
    """The number of posts checked, those that were wrong, where to go on (None: the end), those
    that could not be checked, and those that had wrong times."""

    checked: int
    drifted: list[Drift]
    next: str | None
    failed: Sequence[tuple[str, Exception]] = ()
    repaired: Sequence[TimeRepair] = ()


class FeedRebuilder(Protocol):
    """Derives counts, latest comments and feed entries anew."""

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        """Derive `total_comments`, the latest comments and feed entries of up to `limit` posts from
        their comments, and store what differs. Correct times that a wrong clock stored. Safe while
        the service runs. To be repeated with `after` as the `next` of the batch before, until that
        is None."""
        ...
