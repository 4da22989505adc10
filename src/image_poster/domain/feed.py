"""The feed's orders, its questions, and where a page ends."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from image_poster.domain.posts import StoredPost
from image_poster.domain.signing import Page


class FeedSort(StrEnum):
    """`top`: (total_comments, id) descending. `new`: id descending."""

    TOP = "top"
    NEW = "new"


class FeedPosition(NamedTuple):
    """The last post of a page: the next page starts right after it, whatever happens meanwhile."""

    total_comments: int
    id: str


FeedPage = Page[StoredPost, FeedPosition]


class FeedQuery(msgspec.Struct, frozen=True):
    """One page's worth of question; `creator` None means everyone's posts."""

    sort: FeedSort
    limit: int
    creator: str | None = None
    after: FeedPosition | None = None


def position_of(post: StoredPost) -> FeedPosition:
    """Where a page ends whose last post this is."""
    return FeedPosition(post.total_comments, post.id)


def cut_page(found: list[StoredPost], limit: int) -> FeedPage:
    """A page from a query that asked for one more than `limit`, to see whether there is more."""
    posts = found[:limit]
    return Page(posts, position_of(posts[-1]) if len(found) > limit else None)
