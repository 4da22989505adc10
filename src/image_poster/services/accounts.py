"""Accounts: the permission to write, blocks, a user's own comments, and deletion of an account."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from image_poster.domain.accounts import Block, check_block, check_may_write
from image_poster.domain.errors import PostNotFoundError, invalid
from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.signing import CursorSigner, Page
from image_poster.ports import Clock
from image_poster.ports.accounts import AccountStore, BlockStore
from image_poster.services.posts import PostService

_POSTS_AT_A_TIME = 100
_PARALLEL_DELETIONS = 16
_COMMENTS_AT_A_TIME = 200
_RECORDS_AT_A_TIME = 500
_THE_SERVICE = Identity("", admin=True)
TokenRevocation = Callable[[str], Awaitable[None]]


async def revoke_no_tokens(_user: str) -> None:
    """For an edition that issues no tokens of its own."""


@dataclass(frozen=True)
class AccountEraser:
    """Deletes the data of one account, in small steps. Resumable: each step finds the data left.
    `revoke_tokens` revokes the user's tokens that the service itself issued."""

    accounts: AccountStore
    posts: PostService
    revoke_tokens: TokenRevocation = revoke_no_tokens

    async def erase_content(self, user: str) -> None:
        """Delete the user's posts and comments, and revoke the tokens: when this returns, no
        response shows any content. It is deleted even if revoking fails."""
        try:
            await self._erase_content(user)
        finally:
            await self.revoke_tokens(user)

    async def _erase_content(self, user: str) -> None:
        while await self._is_deleting(user) and (
            post_ids := await self.accounts.posts_of(user, _POSTS_AT_A_TIME)
        ):
            for start in range(0, len(post_ids), _PARALLEL_DELETIONS):
                deletions = map(self._delete_post, post_ids[start : start + _PARALLEL_DELETIONS])
                await asyncio.gather(*deletions)
        while await self._is_deleting(user):
            if not await self.accounts.erase_comments(user, _COMMENTS_AT_A_TIME):
                break

    async def erase_records(self, user: str) -> None:
        """Delete the user's other records."""
        while await self._is_deleting(user):
            if not await self.accounts.erase_records(user, _RECORDS_AT_A_TIME):
                break

    async def _is_deleting(self, user: str) -> bool:
        """False once another process has completed the deletion: the name may begin anew then."""
        return (await self.accounts.standing(user)).is_deleting

    async def _delete_post(self, post_id: str) -> None:
        with suppress(PostNotFoundError):  # by another process that resumes this deletion
            await self.posts.delete(post_id, _THE_SERVICE)


# Begins to delete the data of one account, within the request.
ErasureStart = Callable[[AccountEraser, str], Awaitable[None]]


async def erase_all(eraser: AccountEraser, user: str) -> None:
    """The `ErasureStart` of an edition whose requests may take their time."""
    await eraser.erase_content(user)
    await eraser.erase_records(user)


@dataclass(frozen=True)
class AccountService:
    """Answers about one user's account, and begins its deletion by `start_erasure`."""

    accounts: AccountStore
    blocks: BlockStore
    eraser: AccountEraser
    clock: Clock
    cursors: CursorSigner
    start_erasure: ErasureStart = erase_all

    async def check_may_write(self, user: str, *, while_banned: bool = False) -> None:
        """Check that the user may write now. `while_banned`: the action is one that banned users
        may take. Raises `BannedError` and `AccountDeletedError`."""
        standing = await self.accounts.standing(user)
        check_may_write(standing, self.clock.now_ms(), while_banned=while_banned)

    async def delete(self, user: str, confirm: str) -> None:
        """Begin the deletion of the caller's account, and delete all content that a response could
        show. Raises `ValidationFailedError` unless `confirm` is the user."""
        if confirm != user:
            raise invalid(
                "confirm", "must be your user name, exactly as GET /me shows it in `user`"
            )
        await self.delete_unasked(user)

    async def delete_unasked(self, user: str) -> None:
        """Begin the deletion of an account by a decision, and delete all content that a response
        could show."""
        await self.accounts.begin_deletion(user)
        # It goes on if the client ends the connection.
        await asyncio.shield(asyncio.ensure_future(self.start_erasure(self.eraser, user)))

    async def block(self, user: str, blocked: str) -> None:
        """Block a user; repeating it is a no-op. Raises `ValidationFailedError` and
        `TooManyBlocksError`."""
        check_block(user, blocked)
        await self.blocks.add(user, Block(blocked, rfc3339(self.clock.now_ms())))

    async def unblock(self, user: str, blocked: str) -> None:
        """End a block; repeating it is a no-op."""
        await self.blocks.remove(user, blocked)

    async def blocked_users(self, user: str, *, limit: int, cursor: str | None) -> Page[Block, str]:
        """The blocks of a user, by name. Raises `InvalidCursorError`."""
        list_name = f"blocks:{user}"
        after = self.cursors.read(list_name, cursor, str)
        page = await self.blocks.page(user, limit=limit, after=after)
        return self.cursors.signed(list_name, page)

    async def comments(self, user: str, *, limit: int, cursor: str | None) -> Page[bytes, str]:
        """Documents of the user's comments, newest first. Raises `InvalidCursorError`."""
        list_name = f"comments-of:{user}"
        after = self.cursors.read(list_name, cursor, str)
        page = await self.accounts.comments_of(user, limit=limit, after=after)
        return self.cursors.signed(list_name, page)
