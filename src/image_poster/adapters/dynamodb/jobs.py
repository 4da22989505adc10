"""Failures of image work, counted in DynamoDB in attributes of the post."""

from image_poster.adapters.dynamodb.database import ConditionFailedError, Exists, Table, Update
from image_poster.adapters.dynamodb.schema import post_key

_MAX_ERROR_CHARACTERS = 1000


class DynamoFailureCounter:
    """`FailureCounter` in DynamoDB."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def note(self, post_id: str, error: str) -> int:
        failure = Update(
            post_key(post_id),
            put={"error": error[:_MAX_ERROR_CHARACTERS]},
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
