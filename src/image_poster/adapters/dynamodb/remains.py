"""What is left of deleted posts, in DynamoDB."""

from image_poster.adapters.dynamodb.items import AFTER_COMMENTS, key_of, post_key
from image_poster.adapters.dynamodb.table import Query, Table


class DynamoRemains:
    """`Remains` in DynamoDB. The tombstone itself goes by its `ttl`."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def purge_comments(self, post_id: str, limit: int) -> bool:
        query = Query(post_key(post_id).pk, limit, before=AFTER_COMMENTS)
        page = await self._table.query(query, consistent=True)
        await self._table.delete_many([key_of(item) for item in page.items])
        return bool(page.items)

    async def done(self, post_id: str) -> None:
        """Nothing is to be remembered: the tombstone says all."""
