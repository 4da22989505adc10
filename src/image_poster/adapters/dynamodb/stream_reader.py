"""Records of the table's stream, read again: it has them for a day.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.domain.errors import BusyError

_GONE = {"TrimmedDataAccessException", "ResourceNotFoundException"}
_MOST_AT_A_TIME = 1000


class RecordsGoneError(Exception):
    """The stream has these records no more."""


class DynamoStreamReader:
    """Reads one stream."""

    def __init__(self, client: Any, arn: str) -> None:  # noqa: ANN401 - botocore makes clients at run time
        self._client = client
        self._arn = arn

    def between(self, shard: str, first: str, last: str) -> list[dict[str, Any]]:
        """A shard's records from one sequence number to another, both included. Raises
        `RecordsGoneError` and `BusyError`."""
        try:
            return self._read(shard, first, int(last))
        except (ClientError, BotoCoreError) as exc:
            if isinstance(exc, ClientError) and exc.response["Error"]["Code"] in _GONE:
                raise RecordsGoneError from exc
            raise BusyError(f"The stream cannot be read: {exc}") from exc

    def _read(self, shard: str, first: str, last: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        iterator: str | None = self._client.get_shard_iterator(
            StreamArn=self._arn,
            ShardId=shard,
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=first,
        )["ShardIterator"]
        while iterator and not (found and _number(found[-1]) >= last):
            answer = self._client.get_records(ShardIterator=iterator, Limit=_MOST_AT_A_TIME)
            found += answer["Records"]
            iterator = answer.get("NextShardIterator") if answer["Records"] else None
        return [record for record in found if _number(record) <= last]


def _number(record: dict[str, Any]) -> int:
    return int(record["dynamodb"]["SequenceNumber"])
