"""Accounts: their standing, blocks between users, and the deletion of all their data."""

from typing import Protocol

from image_poster.domain.accounts import Block, Standing
from image_poster.domain.signing import Page


class BlockStore(Protocol):
    """Stores which users a user blocks."""

    async def add(self, user: str, block: Block) -> None:
        """Store a block by `user`. Repeating it is a no-op. Raises `TooManyBlocksError` if the user
        has `domain.accounts.MAX_BLOCKS`."""
        ...

    async def remove(self, user: str, blocked: str) -> None:
        """Remove a block. Repeating it is a no-op."""
        ...

    async def page(self, user: str, *, limit: int, after: str | None) -> Page[Block, str]:
        """The user's blocks by the blocked user's name, after the name `after`."""
        ...

    async def blocked_by(self, user: str) -> frozenset[str]:
        """All users whom `user` blocks."""
        ...


class AccountStore(Protocol):
    """Reads the standing of users, and finds and deletes the data of one user.

    `DecisionStore.decide` sets and ends bans. An account is deleted in small steps. Each step may
    be repeated, so that a crash only delays the deletion.
    """

    async def standing(self, user: str) -> Standing:
        """The user's standing. On AWS, a change takes effect within 15 s."""
        ...

    async def begin_deletion(self, user: str) -> None:
        """Mark the account as being deleted: from then on, no store accepts a write of this user.
        Repeating it is a no-op."""
        ...

    async def deleting(self) -> list[str]:
        """The users whose deletion has begun and is not finished."""
        ...

    async def posts_of(self, user: str, limit: int) -> list[str]:
        """The ids of up to `limit` posts of the user, of any status."""
        ...

    async def comments_of(self, user: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        """The documents of the user's comments on posts that exist, newest first, after the id
        `after`."""
        ...

    async def erase_comments(self, user: str, limit: int) -> bool:
        """Delete up to `limit` comments of the user, on posts of any status, and their texts in
        idempotency records. Update the posts' counts and latest comments. Return False when none
        was left."""
        ...

    async def erase_records(self, user: str, limit: int) -> bool:
        """Delete up to `limit` other records of the user: texts of reports and appeals, the name in
        reports, blocks, quota records. Replace idempotency records by hashes of their keys, so that
        a late retry gets `GoneError`. The log of decisions and bans stay. Return False when none
        was left."""
        ...

    async def finish_deletion(self, user: str) -> None:
        """Record that the deletion is complete: from then on, the user may write again, and begins
        without data. On one machine, the data is also gone from free pages and the log of the
        database when this returns."""
        ...
