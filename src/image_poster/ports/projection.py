"""Counts and latest comments, derived anew."""

from typing import NamedTuple, Protocol


class Drift(NamedTuple):
    """A post whose kept count or latest comments were not what its comments say."""

    post_id: str
    total_was: int
    total_is: int


class RebuiltBatch(NamedTuple):
    """How many posts were checked, which were wrong, and where to go on (None: the end)."""

    checked: int
    drifted: list[Drift]
    next: str | None


class Projection(Protocol):
    """The part of a post that follows from its comments."""

    async def rebuild(self, after: str | None, limit: int) -> RebuiltBatch:
        """Derive `total_comments`, the latest comments and feed entries of up to `limit` posts from
        their comments, and store what differs. Safe while the service runs. To be repeated with
        `after` as the `next` of the batch before, until that is None."""
        ...
