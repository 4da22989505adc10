"""The feed's orders, its questions and its pages."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from image_poster.domain.posts import StoredPost


class FeedSort(StrEnum):
    """`top`: (total_comments, id) descending. `new`: id descending."""

    TOP = "top"
    NEW = "new"


class FeedPosition(NamedTuple):
    """The last post of a page: the next page starts right after it, whatever happens meanwhile."""

    total_comments: int
    id: str


class FeedQuery(msgspec.Struct, frozen=True):
    """One page's worth of question; `creator` None means everyone's posts."""

    sort: FeedSort
    limit: int
    creator: str | None = None
    after: FeedPosition | None = None


class FeedPage(NamedTuple):
    """Posts in order, and where to go on (None: this was the last page)."""

    posts: list[StoredPost]
    next: FeedPosition | None


def cut_page(found: list[StoredPost], limit: int) -> FeedPage:
    """A page from a query that asked for one more than `limit`, to see whether there is more."""
    posts = found[:limit]
    if len(found) <= limit:
        return FeedPage(posts, None)
    return FeedPage(posts, FeedPosition(posts[-1].total_comments, posts[-1].id))
