"""Accounts in DynamoDB: their standing, and the deletion of all data of one user.

An index lists a user's comments, and two list the posts. The other data of a user is in the user's
partition.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from image_poster.adapters.dynamodb import blocks, database, decision_log, entries, paging, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.comments import DynamoCommentStore
from image_poster.adapters.dynamodb.idempotency import delete_texts, used_mark
from image_poster.adapters.dynamodb.reports import REPORT, REPORTED, stored_report_of
from image_poster.adapters.dynamodb.standing import DELETING, DELETIONS, beginning, standing_of
from image_poster.domain.accounts import Standing
from image_poster.domain.identity import Identity
from image_poster.domain.moderation import Subject
from image_poster.domain.signing import Page
from image_poster.ports import Clock

_READ_AT_A_TIME = 100
# Other processes accept the user's writes until they read the standing anew, and indexes are a
# moment behind.
_SETTLED_MS = 2 * 60 * 1000
_DELETION = (DELETING, "begun_ms", "due", "due_at", "blocks", schema.STREAM_COUNTED)
_THE_SERVICE = Identity("", admin=True)


class DynamoAccountStore:
    """`AccountStore` in DynamoDB. `standing` replaces the read of a user's standing by a cache.
    `changed` is called with the name of a user whose deletion this process began."""

    def __init__(
        self,
        table: BotoTable,
        clock: Clock,
        comments: DynamoCommentStore,
        *,
        standing: Callable[[str], Awaitable[Standing]] | None = None,
        changed: Callable[[str], object] = bool,
    ) -> None:
        self._table = table
        self._clock = clock
        self._comments = comments
        self._standing = standing
        self._changed = changed

    async def standing(self, user: str) -> Standing:
        if self._standing is not None:
            return await self._standing(user)
        return standing_of(await self._table.get(schema.account_key(user)))

    @database.retried
    async def begin_deletion(self, user: str) -> None:
        with suppress(database.ConditionFailedError):
            await self._table.write(beginning(user, self._clock.now_ms()))
        self._changed(user)

    async def deleting(self) -> list[str]:
        names = ("due", "due_at")
        query = database.Query(DELETIONS, _READ_AT_A_TIME, on="due", names=names)
        users = [str(item["due_at"]) async for item in paging.all_items(self._table, query)]
        # The index is a moment behind.
        return [user for user in users if (await self._account(user)).is_deleting]

    async def has_settled(self, user: str) -> bool:
        """Return True if no process accepts a write of this user since then, so that data which is
        gone now does not come back."""
        item = await self._table.get(schema.account_key(user)) or {}
        return self._clock.now_ms() - int(item.get("begun_ms", 0)) >= _SETTLED_MS

    async def posts_of(self, user: str, limit: int) -> list[str]:
        partition, post_ids = schema.creator_key(user), list[str]()
        for index, name in (("unfinished", "unfinished"), ("creator_new", "creator_feed")):
            query = database.Query(partition, _READ_AT_A_TIME, on=index, names=(name, "id"))
            async for item in self._live_items(query):
                post_ids.append(str(item["id"]))
                if len(post_ids) == limit:
                    return post_ids
        return list(dict.fromkeys(post_ids))

    async def comments_of(self, user: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        page = await paging.item_page(self._table, _comments_query(user, limit, after))
        live = await self._live(page.items)
        posts = await self._posts_of(live)
        newest = sorted(live, key=schema.comment_id_of, reverse=True)
        shown = [schema.doc_of(item) for item in newest if schema.post_key_of(item) in posts]
        return Page(shown, page.next)

    async def erase_comments(self, user: str, limit: int) -> bool:
        await asyncio.sleep(0)  # here a caller with little time may stop
        erased = 0
        async for item in self._live_items(_comments_query(user, _READ_AT_A_TIME, None)):
            await self._erase_comment(item)
            erased += 1
            if erased == limit:
                break
        return erased > 0

    async def erase_records(self, user: str, limit: int) -> bool:
        await asyncio.sleep(0)  # as in `erase_comments`
        erased = 0
        query = database.Query(schema.user_partition(user), _READ_AT_A_TIME)
        async for item in paging.all_items(self._table, query):
            erased += await self._erase_record(user, item)
            if erased == limit:
                break
        return erased > 0

    @database.retried
    async def finish_deletion(self, user: str) -> None:
        key = schema.account_key(user)
        try:
            await self._table.write(database.Delete(key, (database.Lacks("ban_decision"),)))
        except database.ConditionFailedError:
            await self._table.write(database.Update(key, remove=_DELETION))

    async def _account(self, user: str) -> Standing:
        return standing_of(await self._table.get(schema.account_key(user)))

    async def _live_items(self, query: database.Query) -> AsyncIterator[database.Item]:
        """The items of an index's query that are not deleted, by their current state."""
        start: str | None = None
        while True:
            page = await self._table.query(query.starting_at(start))
            for item in await self._live(page.items):
                yield item
            if page.next is None:
                return
            start = page.next

    async def _live(self, indexed: list[database.Item]) -> list[database.Item]:
        keys = [schema.key_of(item) for item in indexed]
        items = await self._table.get_many(keys) if keys else []
        return [item for item in items if "deleted_by" not in item]

    async def _posts_of(self, comments: list[database.Item]) -> set[database.Key]:
        """The keys of those posts of the comments that were not deleted."""
        keys = list({schema.post_key_of(item) for item in comments})
        items = await self._table.get_many(keys) if keys else []
        return {schema.key_of(item) for item in items if not schema.is_tombstone(item)}

    @database.retried
    async def _erase_comment(self, item: database.Item) -> None:
        key = schema.key_of(item)
        post_id, comment_id = schema.post_id_of(key), schema.comment_id_of(item)
        with suppress(database.ConditionFailedError):  # another process deleted it
            await delete_texts(
                self._table, self._comments.removing(post_id, comment_id, _THE_SERVICE)
            )
        await entries.close_deleted(self._table, Subject(post_id, comment_id))

    async def _erase_record(self, user: str, item: database.Item) -> bool:
        """Erase a record of the user's partition; False if it stays."""
        sk = str(item[database.SK])
        if sk.startswith(decision_log.OWNED):
            return await self._erase_appeal(item)
        if sk == schema.ACCOUNT:
            return False
        if sk.startswith(schema.RECORD):
            await self._table.write(used_mark(item))
        elif sk.startswith(blocks.BLOCK):
            await self._table.write(blocks.unpairing(user, sk.removeprefix(blocks.BLOCK)))
        elif sk.startswith(REPORT):
            await self._erase_report(item)
        else:
            assert sk.startswith(REPORTED) or sk == schema.usage_key(user).sk, sk  # noqa: S101
        await self._table.delete_many([schema.key_of(item)])
        return True

    async def _erase_report(self, item: database.Item) -> None:
        stored = stored_report_of(item)
        await entries.forget_report(self._table, stored.report)
        await self._table.delete_many([stored.reporter_key])

    async def _erase_appeal(self, item: database.Item) -> bool:
        """Erase the text of an appeal; False if the decision has none."""
        if "appeal_text" not in item:
            return False
        subject = decision_log.decision_of(item["doc"]).subject
        await entries.forget_appeal(self._table, subject, str(item["appeal_entry"]))
        erasing = database.Update(schema.key_of(item), remove=("appeal_text",))
        await self._table.write(erasing)
        return True


def _comments_query(user: str, limit: int, after: str | None) -> database.Query:
    partition, names = schema.author_partition(user), ("author", "id")
    return database.Query(partition, limit, after, "author", names)
