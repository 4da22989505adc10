"""Lambda's documented filters of an event-source mapping, and the template's.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html (the rules) and
https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-filtering.html

A stream's records can be filtered by the fields under `dynamodb` only, and `exists` works on leaves
only.
"""

import json
from functools import cache
from typing import Any

from cfnlint.decode.cfn_yaml import load

from aws_local.stack import TEMPLATE

MAX_FILTERS = 5


STREAM_MAPPING, EVENT_MAPPING = "StreamMapping", "EventMapping"


@cache
def patterns(name: str = STREAM_MAPPING) -> list[dict[str, Any]]:
    """Those of a mapping of the stream."""
    mapping = load(str(TEMPLATE))["Resources"][name]["Properties"]
    return [json.loads(pattern["Pattern"]) for pattern in mapping["FilterCriteria"]["Filters"]]


def passes(record: dict[str, Any], name: str = STREAM_MAPPING) -> bool:
    """True if a record reaches the Lambda of this mapping."""
    return any(matches(pattern, record) for pattern in patterns(name))


def matches(pattern: dict[str, Any], value: Any) -> bool:
    """All of a pattern must hold, and of a list one."""
    return all(_holds(rule, _at(value, name)) for name, rule in pattern.items())


def _at(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _holds(rule: Any, value: Any) -> bool:
    if isinstance(rule, dict):
        return matches(rule, value)
    return any(_is(alternative, value) for alternative in rule)


def _is(rule: Any, actual: Any) -> bool:
    if not isinstance(rule, dict):
        return type(rule) is type(actual) and bool(rule == actual)
    ((kind, value),) = rule.items()
    if kind == "exists":
        assert not isinstance(actual, dict), "exists works on leaves only"
        return bool(value) == (actual is not None)
    if actual is None:
        return False
    assert kind in {"prefix", "anything-but"}
    return str(actual).startswith(value) if kind == "prefix" else actual not in value
