"""Real tables, on the emulator."""

import secrets
from collections.abc import Sequence
from functools import cache
from typing import Any

from cfnlint.decode.cfn_yaml import load as load_template

from aws_local.emulator import Emulator
from aws_local.stack import TEMPLATE
from image_poster.adapters.dynamodb.boto import BotoTable
from support.dynamodb import Record


class EmulatedTable(BotoTable):
    """The real adapter on a table of the emulator, made as the template makes it; `stream` has the
    records that its stream gave so far."""

    def __init__(self, emulator: Emulator) -> None:
        client, self._streams = _clients(emulator)
        self.name = f"table-{secrets.token_hex(6)}"
        answer = client.create_table(TableName=self.name, **table_properties())
        super().__init__(client, self.name)
        self._arn = answer["TableDescription"]["LatestStreamArn"]

    @property
    def stream(self) -> Sequence[Record]:
        described = self._streams.describe_stream(StreamArn=self._arn)["StreamDescription"]
        records: list[Record] = []
        for shard in described["Shards"]:
            iterator = self._streams.get_shard_iterator(
                StreamArn=self._arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            while iterator:
                answer = self._streams.get_records(ShardIterator=iterator, Limit=1000)
                records += answer["Records"]
                iterator = answer.get("NextShardIterator") if answer["Records"] else None
        return records


@cache
def _clients(emulator: Emulator) -> tuple[Any, Any]:
    """For all tables of an emulator: each client takes botocore a while to make."""
    return emulator.client("dynamodb"), emulator.client("dynamodbstreams")


@cache
def table_properties() -> dict[str, Any]:
    """The parameters of CreateTable, from the template."""
    properties = load_template(str(TEMPLATE))["Resources"]["Table"]["Properties"]
    names = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    stream = {"StreamEnabled": True, **properties["StreamSpecification"]}
    return {**{name: properties[name] for name in names}, "StreamSpecification": stream}
