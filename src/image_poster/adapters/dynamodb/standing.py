"""The standing of a user: the ban, the mark of a deletion, and blocks between users.

A block is an item in its user's list, and an attribute of one item for each pair of users. So one
read tells if either of them blocks the other.
"""

import hashlib
from typing import Protocol

import msgspec

from image_poster.adapters.dynamodb import boto, database, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.domain.accounts import MAX_BLOCKS, Ban, Block, Standing
from image_poster.domain.errors import BlockedError, TooManyBlocksError
from image_poster.domain.signing import Page
from image_poster.ports import Clock

DELETING = "deleting"
DELETIONS = "DELETIONS"
_BAN_ATTRIBUTES = ("ban_decision", "ban_reason", "ban_until")


class WriterCheck(Protocol):
    """Checks that a user may write."""

    async def __call__(self, user: str, *, while_banned: bool = False) -> None:
        """Raises `AccountDeletedError`, and `BannedError` unless `while_banned`."""


async def accept_writer(user: str, *, while_banned: bool = False) -> None:
    """The `WriterCheck` of stores that no user's request reaches."""


def standing_of(item: database.Item | None) -> Standing:
    """The standing in the item of an account (None: there is none)."""
    account = item or {}
    return Standing(_ban_of(account), is_deleting=DELETING in account)


def _ban_of(account: database.Item) -> Ban | None:
    if "ban_decision" not in account:
        return None
    reason, until_ms = account.get("ban_reason"), account.get("ban_until")
    return Ban(
        None if reason is None else str(reason),
        None if until_ms is None else int(until_ms),
        str(account["ban_decision"]),
    )


def banning(user: str, ban: Ban | None) -> database.Update:
    """The write of a ban, or of its end (None)."""
    attributes: database.Item = {}
    if ban is not None:
        attributes["ban_decision"] = ban.decision_id
        if ban.reason is not None:
            attributes["ban_reason"] = ban.reason
        if ban.until_ms is not None:
            attributes["ban_until"] = ban.until_ms
    removed = tuple(name for name in _BAN_ATTRIBUTES if name not in attributes)
    return database.Update(schema.account_key(user), put=attributes, remove=removed)


def beginning(user: str, now_ms: int) -> database.Update:
    """The write that marks an account as being deleted since `now_ms`, unless it is marked. The
    stream goes on with the deletion at once."""
    return database.Update(
        schema.account_key(user),
        put={
            DELETING: True,
            "begun_ms": now_ms,
            "due": DELETIONS,
            "due_at": user,
            schema.STREAM_COUNTED: False,
        },
        when=(database.Lacks(DELETING),),
    )


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
        query = self._query(user, limit)._replace(after=boto.start_key(BLOCK, after))
        page = await boto.item_page(self._table, query)
        following = None if page.next is None else page.next.removeprefix(BLOCK)
        return Page([_block_of(item) for item in page.items], following)

    async def blocked_by(self, user: str) -> frozenset[str]:
        query = self._query(user, _BLOCKS_AT_A_TIME)
        items = boto.all_items(self._table, query)
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
