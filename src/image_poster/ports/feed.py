"""The feed, and the values of a post that derive from its comments."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from image_poster.domain.feed import FeedPage, FeedQuery
from image_poster.domain.posts import PostStatus
from image_poster.domain.signing import Page
from image_poster.domain.uploads import OwnPost


class FeedReader(Protocol):
    """Reads the ready posts in either order; the cost depends only on the page's length."""

    def version(self) -> int | None:
        """A number that changes with every write that could change a page, so that pages can be
        cached. None where it would cost as much as the page."""
        ...

    async def page(self, query: FeedQuery) -> FeedPage:
        """The page for `query`, by the rules of `domain.feed`.

        A walk over `top` from page to page shows each post once, despite writes during the walk. It
        misses no post that was there at its first page. A page may be empty and yet have a next.
        """
        ...

    async def own_posts(
        self, creator: str, statuses: frozenset[PostStatus], limit: int, after: str | None
    ) -> Page[OwnPost, str]:
        """The creator's posts of these statuses, newest first, after the id `after`. A page may be
        shorter than `limit`, even empty, and have a next."""
        ...


class Drift(NamedTuple):
    """A post whose stored count or latest comments differed from its comments."""

    post_id: str
    total_was: int
    total_is: int


class TimeRepair(NamedTuple):
    """A post with times of a wrong clock. `documents` is the number of documents with such times,
    the post's own or its comments'. `was_ahead`: its newest comment or its rank was of a later
    epoch than the feed."""

    post_id: str
    documents: int
    was_ahead: bool


class RebuiltBatch(NamedTuple):
    """The number of posts checked, the posts that were wrong, and the cursor of the next batch
    (None: the end). Then the posts that could not be checked, and those that had wrong times."""

    checked: int
    drifted: list[Drift]
    next: str | None
    failed: Sequence[tuple[str, Exception]] = ()
    repaired: Sequence[TimeRepair] = ()


class FeedRebuilder(Protocol):
    """Recomputes counts, latest comments and feed entries."""

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        """Derive `total_comments`, the latest comments and feed entries of up to `limit` posts from
        their comments, and store the differences. Correct times that a wrong clock stored.

        Safe while the service runs. Repeat with `after` as the `next` of the last batch, until that
        is None.
        """
        ...
