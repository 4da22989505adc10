"""Derive counts and latest comments anew from the comments."""

from dataclasses import dataclass, field
from typing import NamedTuple

from image_poster.ports.feed import Drift, FeedRebuilder

_POSTS_AT_A_TIME = 200


class Rebuilt(NamedTuple):
    """How many posts were checked, and which were wrong (and are right now)."""

    checked: int
    drifted: list[Drift]


@dataclass(frozen=True)
class Rebuild:
    """In small steps, so that it can run beside the service."""

    projection: FeedRebuilder
    batch: int = field(default=_POSTS_AT_A_TIME)

    async def __call__(self) -> Rebuilt:
        """All posts."""
        checked, drifted, after = 0, list[Drift](), None
        while True:
            step = await self.projection.rebuild(after, self.batch)
            checked += step.checked
            drifted += step.drifted
            if step.next is None:
                return Rebuilt(checked, drifted)
            after = step.next
