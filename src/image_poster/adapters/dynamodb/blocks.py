"""Blocks between users in DynamoDB: an item for each block, for its user's list, and one for each
pair of users. So one read tells if either of them blocks the other."""

import hashlib

import msgspec

from image_poster.adapters.dynamodb import database, paging, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.standing import WriterCheck, accept_writer
from image_poster.domain.accounts import MAX_BLOCKS, Block
from image_poster.domain.errors import BlockedError, TooManyBlocksError
from image_poster.domain.signing import Page
from image_poster.ports import Clock

# Short: with the longest name, a sort key has 1,024 bytes at most.
BLOCK = "BL#"
_PAIR = "PAIR"
# Of a block that ended, until DynamoDB removes its item.
_ENDED = "ended"
_BLOCKS_AT_A_TIME = 250


def block_key(user: str, blocked: str) -> database.Key:
    """The key of a block in its user's list."""
    return database.Key(schema.user_partition(user), f"{BLOCK}{blocked}")


def pair_key(user: str, other: str) -> database.Key:
    """The key of the blocks between two users, in either order. Names may have any characters, so
    it has a hash of both."""
    digest = hashlib.sha256(msgspec.json.encode(sorted((user, other)))).hexdigest()
    return database.Key(f"PAIR#{digest}", _PAIR)


def _direction(user: str, other: str) -> str:
    """The attribute of the pair for a block by `user`."""
    return "by_first" if user < other else "by_second"


async def check_not_blocked(table: BotoTable, user: str, other: str) -> None:
    """Raises `BlockedError` if either of two users blocks the other, by one eventually consistent
    read."""
    if user == other:
        return
    pair = await table.get(pair_key(user, other), consistent=False)
    if pair is not None and {"by_first", "by_second"} & pair.keys():
        raise BlockedError


def ending(user: str, blocked: str, now_ms: int) -> list[database.Write]:
    """The writes that end a block, but for the count. DynamoDB removes the items later."""
    ttl = schema.ttl_of(now_ms)
    return [
        database.Update(
            block_key(user, blocked),
            put={_ENDED: True, "ttl": ttl},
            when=(database.Has(database.PK), database.Lacks(_ENDED)),
        ),
        unpairing(user, blocked),
    ]


def unpairing(user: str, blocked: str) -> database.Update:
    """The write that ends a block in the item of the pair."""
    return database.Update(pair_key(user, blocked), remove=(_direction(user, blocked),))


class DynamoBlockStore:
    """`BlockStore` in DynamoDB. The account's item counts the blocks."""

    def __init__(
        self, table: BotoTable, clock: Clock, *, check_may_write: WriterCheck = accept_writer
    ) -> None:
        self._table = table
        self._clock = clock
        self._check_may_write = check_may_write

    @database.retried
    async def add(self, user: str, block: Block) -> None:
        await self._check_may_write(user, while_banned=True)
        key = block_key(user, block.user)
        item = await self._table.get(key)
        if item is not None and _ENDED not in item:
            return
        former = database.Lacks(database.PK) if item is None else database.Has(_ENDED)
        new = database.Update(
            key, put={"created_at": block.created_at}, remove=(_ENDED, "ttl"), when=(former,)
        )
        pair = database.Update(pair_key(user, block.user), put={_direction(user, block.user): True})
        await self._table.transact([new, pair, await self._counting(user, 1)])

    @database.retried
    async def remove(self, user: str, blocked: str) -> None:
        item = await self._table.get(block_key(user, blocked))
        if item is None or _ENDED in item:
            return
        counting = await self._counting(user, -1)
        await self._table.transact([*ending(user, blocked, self._clock.now_ms()), counting])

    async def page(self, user: str, *, limit: int, after: str | None) -> Page[Block, str]:
        query = self._query(user, limit)._replace(after=paging.start_key(BLOCK, after))
        page = await paging.item_page(self._table, query)
        following = None if page.next is None else page.next.removeprefix(BLOCK)
        return Page([_block_of(item) for item in page.items], following)

    async def blocked_by(self, user: str) -> frozenset[str]:
        query = self._query(user, _BLOCKS_AT_A_TIME)
        items = paging.all_items(self._table, query)
        return frozenset([_block_of(item).user async for item in items])

    def _query(self, user: str, limit: int) -> database.Query:
        return database.Query(
            schema.user_partition(user), limit, prefix=BLOCK, ascending=True, without=(_ENDED,)
        )

    async def _counting(self, user: str, change: int) -> database.Update:
        """The write that changes the count by comparing and swapping. Raises
        `TooManyBlocksError`."""
        account = await self._table.get(schema.account_key(user)) or {}
        count = int(account.get("blocks", 0)) + change
        if count > MAX_BLOCKS:
            raise TooManyBlocksError
        unchanged: database.Condition = database.Lacks("blocks")
        if "blocks" in account:
            unchanged = database.HasValue("blocks", account["blocks"])
        return database.Update(
            schema.account_key(user), put={"blocks": max(0, count)}, when=(unchanged,)
        )


def _block_of(item: database.Item) -> Block:
    return Block(str(item[database.SK]).removeprefix(BLOCK), str(item["created_at"]))
