"""Do what follows from changes to posts and comments, after they were answered (AWS)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from image_poster.ports.comments import CommentCounter
from image_poster.ports.images import ImageCache
from image_poster.ports.jobs import JobStarter
from image_poster.usecases.delete_post import RemoveRemains


class Turn(StrEnum):
    """What a post has become: `RECEIVED`, all pieces of its picture are there; `GONE`, deleted or
    expired."""

    RECEIVED = "received"
    GONE = "gone"


class PostChanges(NamedTuple):
    """All that changed about one post: comments by their ids, and what the post has become."""

    post_id: str
    comments: frozenset[str]
    turns: frozenset[Turn]


@dataclass(frozen=True)
class FollowChanges:
    """Every step may be repeated, so whoever delivers changes may deliver them again."""

    counter: CommentCounter
    work: JobStarter
    remove_remains: RemoveRemains
    cache: ImageCache

    async def __call__(self, changes: PostChanges) -> None:
        """Count the comments, begin the image work, or remove what is left."""
        if Turn.GONE in changes.turns:
            await self.remove_remains(changes.post_id)
            await self.cache.forget(changes.post_id)
        elif Turn.RECEIVED in changes.turns:
            await self.work.begin(changes.post_id)
        if changes.comments:
            await self.counter.count(changes.post_id, changes.comments)
