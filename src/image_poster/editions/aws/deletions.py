"""Deletion of accounts on AWS.

The API begins one and deletes as much as its time allows. The stream goes on at once, and the
reconciliation until all data is gone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from image_poster.adapters.dynamodb.accounts import DynamoAccountStore
from image_poster.services.accounts import AccountEraser

# With the last step begun before, a request ends within the gateway's 30 s.
_REQUEST_SECONDS = 20


async def erase_content_in_time(eraser: AccountEraser, user: str) -> None:
    """The `ErasureStart` of the API: delete as much content as its time allows. It deletes no
    records, since the API may delete no items."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_REQUEST_SECONDS):
            await eraser.erase_content(user)


@dataclass(frozen=True)
class AccountDeletions:
    """Deletes the data of accounts whose deletion has begun, in small steps: each call goes on
    where the last one was stopped."""

    accounts: DynamoAccountStore
    eraser: AccountEraser

    async def run(self, user: str, seconds: float) -> bool:
        """Go on with one deletion for at most `seconds`. Return True once all data is gone.

        The last step waits until no other process accepts a write of this user: until then, data
        may come back.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                settled = await self.accounts.has_settled(user)
                await self.eraser.erase_content(user)
                await self.eraser.erase_records(user)
                if settled:
                    await self.accounts.finish_deletion(user)
                return settled
        return False

    async def run_all(self, seconds: float) -> AsyncIterator[tuple[str, bool | Exception]]:
        """Go on with all deletions for at most `seconds`. Yield each user, and True once all data
        is gone, or the error. One account's failure stops no other's deletion."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for user in await self.accounts.deleting():
            if loop.time() >= end:
                return
            try:
                yield user, await self.run(user, end - loop.time())
            except Exception as exc:  # noqa: BLE001 - as above
                yield user, exc
