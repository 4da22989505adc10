"""All items of a query, pages of lists, and the newest comments of a post."""

from collections.abc import AsyncIterator

from image_poster.adapters.dynamodb import database, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.domain.signing import Page


async def all_items(table: BotoTable, query: database.Query) -> AsyncIterator[database.Item]:
    """All items of a query, page by page; of a table, after every write that returned."""
    start = query.start
    while True:
        page = await table.query(query.starting_at(start), consistent=query.on is None)
        for item in page.items:
            yield item
        if page.next is None:
            return
        start = page.next


async def item_page(table: BotoTable, query: database.Query) -> Page[database.Item, str]:
    """The first `query.limit` items of a query, and the sort key after which the next page starts.
    It reads on where items are left out (`query.without`)."""
    items: list[database.Item] = []
    async for item in all_items(table, query._replace(limit=query.limit + 1)):
        items.append(item)
        if len(items) > query.limit:
            shown = items[: query.limit]
            return Page(shown, str(shown[-1][query.names[1]]))
    return Page(items, None)


def start_key(prefix: str, after: str | None) -> str | None:
    """The start of a query of the sort keys with this prefix, behind the id or name `after`."""
    return None if after is None else f"{prefix}{after}"


async def newest_counted(table: BotoTable, post_id: str, limit: int) -> list[bytes]:
    """The `limit` latest counted comments, newest first, read from the comments' own items."""
    newest: list[bytes] = []
    query = database.Query(
        schema.post_key(post_id).pk,
        2 * limit,
        before=schema.AFTER_COMMENTS,
        without=("deleted_by",),
    )
    async for item in all_items(table, query):
        if item["counted"]:
            newest.append(schema.doc_of(item))
        if len(newest) == limit:
            break
    return newest
