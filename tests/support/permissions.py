"""A simulator of IAM: the permissions that calls need, and those that policies allow.

Actions and resources of each operation are those of the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/). A policy allows the calls
that its statements name, with `*` for any text (IAM user guide, "Policy evaluation logic"). A
signed URL is a call of its user, with the rights of its signer.
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple


class Need(NamedTuple):
    """An action on a resource, by a role."""

    role: str
    action: str
    resource: str


class Grant(NamedTuple):
    """The permission of one line of a role's policy."""

    role: str
    action: str
    resource: str

    def allows(self, need: Need) -> bool:
        return (
            self.role == need.role
            and self.action == need.action
            and fnmatchcase(need.resource, self.resource)
        )


class Places(NamedTuple):
    """The names of resources."""

    region: str
    account: str

    def table(self, name: str, index: str | None = None) -> str:
        arn = f"arn:aws:dynamodb:{self.region}:{self.account}:table/{name}"
        return arn if index is None else f"{arn}/index/{index}"

    def distribution(self, name: str) -> str:
        return f"arn:aws:cloudfront::{self.account}:distribution/{name}"

    def event_bus(self, name: str) -> str:
        return f"arn:aws:events:{self.region}:{self.account}:event-bus/{name}"


_TRANSACTED = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}
_OF_OBJECTS = {
    "GetObject": "GetObject",
    "HeadObject": "GetObject",
    "PutObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}


def needs(
    service: str, operation: str, words: dict[str, Any], places: Places
) -> Iterator[tuple[str, str]]:
    """Actions and resources of a call."""
    if service == "dynamodb":
        yield from _dynamodb(operation, words, places)
    elif service == "s3":
        yield from _s3(operation, words)
    elif service == "cloudfront":
        yield f"cloudfront:{operation}", places.distribution(words["DistributionId"])
    elif service == "eventbridge":
        for entry in words["Entries"]:
            yield f"events:{operation}", places.event_bus(entry["EventBusName"])
    else:
        assert (service, operation) == ("secrets-manager", "GetSecretValue"), (service, operation)
        yield "secretsmanager:GetSecretValue", words["SecretId"]


def _dynamodb(operation: str, words: dict[str, Any], places: Places) -> Iterator[tuple[str, str]]:
    if operation in {"BatchGetItem", "BatchWriteItem"}:
        for name in words["RequestItems"]:
            yield f"dynamodb:{operation}", places.table(name)
    elif operation == "TransactWriteItems":
        for item in words["TransactItems"]:
            ((kind, write),) = item.items()
            yield f"dynamodb:{_TRANSACTED[kind]}", places.table(write["TableName"])
    else:
        arn = places.table(words["TableName"], words.get("IndexName"))
        yield f"dynamodb:{operation}", arn


def _s3(operation: str, words: dict[str, Any]) -> Iterator[tuple[str, str]]:
    bucket = f"arn:aws:s3:::{words['Bucket']}"
    if operation == "ListObjectsV2":
        yield "s3:ListBucket", bucket
    elif operation == "DeleteObjects":
        for entry in words["Delete"]["Objects"]:
            yield "s3:DeleteObject", f"{bucket}/{entry['Key']}"
    elif operation == "CopyObject":
        source = words["CopySource"]
        yield "s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}"
        yield "s3:PutObject", f"{bucket}/{words['Key']}"
        # As for GetObject: of a missing source, S3 tells no more than 403 without it.
        yield "s3:ListBucket", f"arn:aws:s3:::{source['Bucket']}"
    else:
        yield f"s3:{_OF_OBJECTS[operation]}", f"{bucket}/{words['Key']}"
        if operation in {"GetObject", "HeadObject"}:
            # "If you don't have it, S3 returns 403 and not 404" for what is not there.
            yield "s3:ListBucket", bucket


def grants(role: str, document: dict[str, Any]) -> Iterator[Grant]:
    """Those of a policy; it has no conditions and denies nothing."""
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        assert "Condition" not in statement
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                yield Grant(role, action, resource)


def _listed(value: Any) -> list[str]:
    return list(value) if isinstance(value, list) else [value]


def refused(calls: Iterable[Need], allowed: Iterable[Grant]) -> list[Need]:
    """Calls without a grant."""
    statements = list(allowed)
    return sorted(
        {call for call in calls if not any(statement.allows(call) for statement in statements)}
    )


def unused(calls: Iterable[Need], allowed: Iterable[Grant]) -> list[Grant]:
    """Grants without a call."""
    recorded = list(calls)
    return sorted(
        {statement for statement in allowed if not any(statement.allows(call) for call in recorded)}
    )
