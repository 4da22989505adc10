"""Writes and conditions in DynamoDB's own words.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html: every name and
value goes by a placeholder, so that no attribute collides with a reserved word.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from image_poster.adapters.dynamodb.table import (
    PK,
    SK,
    Conditions,
    Delete,
    Exists,
    Is,
    Item,
    Key,
    Put,
    Query,
    Update,
    Value,
    Write,
)

Words = dict[str, Any]
Attributes = dict[str, dict[str, Any]]


def encoded_value(value: Value) -> dict[str, Any]:
    """A value as DynamoDB writes it."""
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"B": value} if isinstance(value, bytes) else {"S": value}


def encoded_item(item: Mapping[str, Value]) -> Attributes:
    """An item as DynamoDB writes it."""
    return {name: encoded_value(value) for name, value in item.items()}


def encoded_key(key: Key) -> Attributes:
    """A key as DynamoDB writes it."""
    return encoded_item({PK: key.pk, SK: key.sk})


def decoded_item(attributes: Attributes) -> Item:
    """An item from DynamoDB's writing."""
    return {name: _decoded_value(value) for name, value in attributes.items()}


def _decoded_value(value: dict[str, Any]) -> Value:
    ((kind, content),) = value.items()
    if kind == "N":
        return int(content)
    found: Value = content
    return found


class _Placeholders:
    """The names and values that an expression stands on."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: Attributes = {}

    def name(self, name: str) -> str:
        placeholder = f"#{name}"
        self.names[placeholder] = name
        return placeholder

    def value(self, value: Value) -> str:
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = encoded_value(value)
        return placeholder

    def words(self) -> Words:
        found: Words = {}
        if self.names:
            found["ExpressionAttributeNames"] = self.names
        if self.values:
            found["ExpressionAttributeValues"] = self.values
        return found


def write_words(write: Write) -> Words:
    """The arguments of PutItem, UpdateItem or DeleteItem, but for the table's name."""
    place = _Placeholders()
    words: Words = {}
    if isinstance(write, Put):
        words["Item"] = encoded_item(write.item)
    else:
        words["Key"] = encoded_key(write.key)
    if isinstance(write, Update):
        words["UpdateExpression"] = _changes(write, place)
    if write.when:
        words["ConditionExpression"] = _condition(write.when, place)
        words["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {**words, **place.words()}


def operation(write: Write) -> str:
    """What the write is called in a transaction."""
    return {Put: "Put", Update: "Update", Delete: "Delete"}[type(write)]


def query_words(query: Query) -> Words:
    """The arguments of Query, but for the table's name."""
    place = _Placeholders()
    pk, sk = query.names
    condition = f"{place.name(pk)} = {place.value(query.pk)}"
    if query.before is not None:
        condition += f" AND {place.name(sk)} < {place.value(query.before)}"
    words: Words = {
        "KeyConditionExpression": condition,
        "ScanIndexForward": False,
        "Limit": query.limit,
    }
    if query.without:
        words["FilterExpression"] = " AND ".join(
            f"attribute_not_exists({place.name(name)})" for name in query.without
        )
    if query.on is not None:
        words["IndexName"] = query.on
    return {**words, **place.words()}


def _changes(update: Update, place: _Placeholders) -> str:
    clauses = {
        "SET": [f"{place.name(name)} = {place.value(v)}" for name, v in update.put.items()],
        "ADD": [f"{place.name(name)} {place.value(v)}" for name, v in update.add.items()],
        "REMOVE": [place.name(name) for name in update.remove],
    }
    return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts)


def _condition(conditions: Conditions, place: _Placeholders) -> str:
    return " AND ".join(_clauses(conditions, place))


def _clauses(conditions: Conditions, place: _Placeholders) -> Iterable[str]:
    for condition in conditions:
        name = place.name(condition.name)
        if isinstance(condition, Is):
            yield f"{name} = {place.value(condition.value)}"
        elif isinstance(condition, Exists):
            yield f"attribute_exists({name})"
        else:
            yield f"attribute_not_exists({name})"
