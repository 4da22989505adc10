"""The feed's orders and queries, and a stable walk over `top` while ranks change. The walk shows
each post once and misses none (docs/feed.md has a drawing).

Time is cut into epochs of `EPOCH_MS`. A post's rank carries the epoch *since* which it holds. When
it changes in a later epoch (`change_rank`), the old one is kept as a past rank. That is valid from
its `since` to before its `until`. So each post has exactly one valid rank in any epoch that is
over.

Page 1 is live; its cursor names an epoch that is over (`_EPOCHS_BACK`) and the posts shown. Later
pages read the ranking as of the end of that epoch, without the posts of page 1. No write changes
that ranking any more. Stores write by `change_rank` and read by `page_of`; nothing here does I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from image_poster.domain.limits import PAGE_ENTRIES_BYTES
from image_poster.domain.posts import StoredPost
from image_poster.domain.signing import Page

EPOCH_MS = 5000
# A walk's epoch lies so far back that every write of it is to be seen: clocks of several writers
# differ, and an index may lag.
_EPOCHS_BACK = 2
# How long past ranks are kept; a cursor older than that goes on live.
PAST_EPOCHS = 3600 * 1000 // EPOCH_MS
# The ETag of a page changes after so many epochs, before the cursor in a client's copy of the page
# expires.
ETAG_EPOCHS = PAST_EPOCHS // 2
# "Since always": a post that is published after a walk's epoch is in its ranking all the same.
ALWAYS = 0
# As `until` of a position: behind all ranks of its post and count.
BEHIND_PAST_RANKS = 0
_ID_CHARACTERS = 26
# Greater than every count and every epoch, in ten digits.
_GREATEST = 9_999_999_999


class FeedSort(StrEnum):
    """`top`: (total_comments, id) descending. `new`: id descending."""

    TOP = "top"
    NEW = "new"


class Position(NamedTuple):
    """A place in an order, which goes from the greatest down; in `new`, `total` is 0. A current
    rank comes before past ranks of the same post and count; `until` tells those apart."""

    total: int
    id: str
    until: int = _GREATEST


class Ranked(NamedTuple):
    """A stored rank: at `place`, valid from the epoch `since` to before `place.until`."""

    place: Position
    since: int = ALWAYS


class FeedCursor(NamedTuple):
    """The position behind which the next page begins. In a walk over `top` the page reads the
    ranking as of the end of the epoch `as_of`, without the posts in `excluded_ids` (joined ids).
    Cursors of the former version have two values: a position."""

    total: int
    id: str
    until: int = BEHIND_PAST_RANKS
    as_of: int | None = None
    excluded_ids: str = ""


class FeedQuery(msgspec.Struct, frozen=True):
    """A query for one page, made in `epoch`; `creator` None means everyone's posts."""

    sort: FeedSort
    limit: int
    epoch: int
    creator: str | None = None
    after: FeedCursor | None = None

    @property
    def as_of(self) -> int | None:
        """The epoch whose ranking the page reads; None: the current ranking."""
        as_of = self.after.as_of if self.after is not None else None
        return as_of if as_of is not None and as_of >= self.epoch - PAST_EPOCHS else None

    @property
    def before(self) -> Position | None:
        """The exclusive upper bound of the page's entries: the position of the cursor `after`."""
        return None if self.after is None else Position(*self.after[:3])

    @property
    def excluded_ids(self) -> list[str]:
        """The ids of posts that an earlier page showed already."""
        joined = "" if self.after is None else self.after.excluded_ids
        return [joined[at : at + _ID_CHARACTERS] for at in range(0, len(joined), _ID_CHARACTERS)]

    @property
    def fetch_limit(self) -> int:
        """The number of ranks that fill a page and show if there is another."""
        return self.limit + len(self.excluded_ids) + 1

    @property
    def max_entries(self) -> int:
        """The most entries of one source (current or past ranks) that a page of a walk reads: of
        both together, 4 * limit + 100."""
        return 2 * self.limit + 50


FeedPage = Page[StoredPost, FeedCursor]


class Excluded(NamedTuple):
    """The users and posts that a viewer's own feed omits: users whom the viewer blocks, and posts
    that the viewer reported."""

    users: frozenset[str]
    posts: frozenset[str]

    def omits(self, post_id: str, creator: str) -> bool:
        """True if the viewer's feed omits the creator's post with this id."""
        return post_id in self.posts or creator in self.users


class CurrentRank(NamedTuple):
    """A post's current count in the ranking, and the epoch since which it holds."""

    total: int
    since: int = ALWAYS


class RankChange(NamedTuple):
    """The ranks to store when a count changes: the current one, and the past one with its `until`
    (None: there is none)."""

    current: CurrentRank
    past: Ranked | None


class RankSlice(NamedTuple):
    """Ranks read from one source, in its order. `resume_at` is the position of the last entry
    read, if there may be more behind it."""

    ranks: list[Ranked]
    resume_at: Position | None


def epoch_of(now_ms: int) -> int:
    """The epoch of a time (milliseconds since 1970)."""
    return now_ms // EPOCH_MS


def change_rank(post_id: str, rank: CurrentRank, total: int, epoch: int) -> RankChange:
    """Change a post's rank to `total` in `epoch`. A second change in the same epoch overwrites the
    first. A post's first rank holds since `ALWAYS`, so its first change is always in a later
    epoch."""
    now = max(epoch, rank.since)
    if rank.total == total or rank.since == now:
        return RankChange(CurrentRank(total, rank.since), None)
    return RankChange(
        CurrentRank(total, now), Ranked(Position(rank.total, post_id, now), rank.since)
    )


def position_in(sort: FeedSort, total: int, post_id: str) -> Position:
    """The position of a post in an order."""
    return Position(total if sort is FeedSort.TOP else 0, post_id)


def page_of(query: FeedQuery, sources: Sequence[RankSlice]) -> Page[str, FeedCursor]:
    """The ids of the page's posts, in order, and the cursor of the next page.

    Each source gives `query.fetch_limit` valid ranks (`is_valid`), if it has so many behind
    `query.before`; invalid ones may be among them. The page ends where the first source stopped. A
    post that moved during the read may be in two sources, at the same position; it counts once.
    """
    end = max((source.resume_at for source in sources if source.resume_at), default=None)
    excluded_ids, shown, passed, reached = set(query.excluded_ids), list[str](), set[str](), end
    for place in _places(query, sources):
        if end is not None and place < end:
            break
        if place.id not in passed and place.id not in excluded_ids:
            if len(shown) == query.limit:
                return Page(shown, _cursor(query, shown, passed, reached))
            shown.append(place.id)
        passed.add(place.id)
        reached = place
    return Page(shown, _cursor(query, shown, passed, end))


def _places(query: FeedQuery, sources: Iterable[RankSlice]) -> list[Position]:
    valid = (
        rank.place
        for source in sources
        for rank in source.ranks
        if query.as_of is None or is_valid(rank, query.as_of)
    )
    return sorted(valid, reverse=True)


def is_valid(rank: Ranked, as_of: int) -> bool:
    """Return True if the rank is in the ranking as of the end of that epoch."""
    return rank.since <= as_of < rank.place.until


def _cursor(
    query: FeedQuery, shown: list[str], passed: set[str], reached: Position | None
) -> FeedCursor | None:
    """The cursor of the next page; None if there is none. Behind page 1 of `top`, a walk begins at
    the greatest position, without the posts that page 1 showed."""
    if reached is None:
        return None
    if query.sort is FeedSort.TOP and query.after is None:
        as_of = query.epoch - _EPOCHS_BACK
        return FeedCursor(_GREATEST, "", as_of=as_of, excluded_ids="".join(shown))
    # The next page skips all other ranks of a post that this walk has passed.
    until = BEHIND_PAST_RANKS if reached.id in passed else reached.until
    walk_as_of = None if query.after is None else query.after.as_of
    excluded_ids = "".join(post_id for post_id in query.excluded_ids if post_id not in passed)
    return FeedCursor(reached.total, reached.id, until, walk_as_of, excluded_ids)


def with_contents(
    query: FeedQuery,
    sources: Sequence[RankSlice],
    page: Page[str, FeedCursor],
    contents: Mapping[str, StoredPost],
) -> FeedPage:
    """Fill the page with the current posts, without deleted ones. It ends early where its entries
    would exceed `PAGE_ENTRIES_BYTES`."""
    posts = [contents[post_id] for post_id in page.items if post_id in contents]
    count = _fitting_posts(posts)
    if count < len(posts):
        shorter = page.items.index(posts[count].id)
        page = page_of(msgspec.structs.replace(query, limit=shorter), sources)
    return Page(posts[:count], page.next)


def _fitting_posts(posts: list[StoredPost]) -> int:
    """The number of posts that fit into one answer; at least one."""
    size = 0
    for number, post in enumerate(posts):
        size += len(post.head) + len(post.latest)
        if size > PAGE_ENTRIES_BYTES and number:
            return number
    return len(posts)
