"""How often image work has failed, in DynamoDB: attributes of the post."""

from image_poster.adapters.dynamodb.items import post_key
from image_poster.adapters.dynamodb.table import ConditionFailedError, Exists, Table, Update

_MOST_CHARACTERS = 1000


class DynamoFailureCounter:
    """`FailureCounter` in DynamoDB."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def note(self, post_id: str, error: str) -> int:
        failure = Update(
            post_key(post_id),
            put={"error": error[:_MOST_CHARACTERS]},
            add={"failures": 1},
            when=(Exists("head"),),
        )
        try:
            return int((await self._table.write(failure))["failures"])
        except ConditionFailedError:
            return 0

    async def clear(self, post_id: str) -> None:
        clearing = Update(post_key(post_id), remove=("failures", "error"), when=(Exists("head"),))
        try:
            await self._table.write(clearing)
        except ConditionFailedError:
            return
