"""`python -m destroy STACK`: delete a stack of a stage that is not `prod`, with all that is in it.

CloudFormation deletes no bucket that is not empty (user guide, "Deleting a stack"); so its buckets
are emptied first, of all versions.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

_AT_A_TIME = 1000  # DeleteObjects
_PAUSE_SECONDS = 5
_BUCKETS = "AWS::S3::Bucket"


class CannotDestroyError(Exception):
    """The reason why the stack cannot be deleted; the command ends with it."""


def main() -> None:
    """Delete the stack; exit with code 1 and a message if that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stack")
    name = parser.parse_args().stack
    try:
        destroy(Session(), name)
    except (CannotDestroyError, ClientError, BotoCoreError) as exc:
        sys.exit(f"{name} was not deleted: {exc}")
    print(f"{name} is deleted, with all that was in it")


def destroy(session: Session, name: str, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """Delete the stack and wait for its end. Raises `CannotDestroyError`."""
    formation, storage = session.create_client("cloudformation"), session.create_client("s3")
    _check_stage(formation, name)
    for bucket in _buckets(formation, name):
        _close(storage, bucket)
        _empty(storage, bucket)
    formation.delete_stack(StackName=name)
    while (status := _status(formation, name)).endswith("IN_PROGRESS"):
        time.sleep(pause_seconds)
    if status != "DELETE_COMPLETE":
        raise CannotDestroyError(f"it ended as {status}; its events say why")


def _check_stage(formation: Any, name: str) -> None:
    (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    if outputs.get("Stage") != "dev":
        raise CannotDestroyError("it is no stack of stage dev; a prod stack is not deleted")


def _buckets(formation: Any, name: str) -> list[str]:
    """Return the stack's buckets. DescribeStackResources would return the first 100 resources only
    (API reference)."""
    pages = formation.get_paginator("list_stack_resources").paginate(StackName=name)
    resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
    buckets = [resource for resource in resources if resource["ResourceType"] == _BUCKETS]
    return [bucket["PhysicalResourceId"] for bucket in buckets]


def _close(storage: Any, bucket: str) -> None:
    """Remove the bucket's notifications, so that nothing starts image work while it is emptied."""
    storage.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})


def _empty(storage: Any, bucket: str) -> None:
    while objects := list(_versions(storage, bucket)):
        answer = storage.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        if answer.get("Errors"):
            raise CannotDestroyError(f"{bucket}: {answer['Errors'][0]}")


def _versions(storage: Any, bucket: str) -> Iterator[dict[str, str]]:
    """Yield a page of the bucket's versions and delete markers, at most `_AT_A_TIME` of each."""
    answer = storage.list_object_versions(Bucket=bucket, MaxKeys=_AT_A_TIME)
    for kind in ("Versions", "DeleteMarkers"):
        for version in answer.get(kind, []):
            yield {"Key": version["Key"], "VersionId": version["VersionId"]}


def _status(formation: Any, name: str) -> str:
    try:
        (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as exc:
        if "does not exist" in str(exc):
            return "DELETE_COMPLETE"
        raise
    return str(stack["StackStatus"])


if __name__ == "__main__":
    main()
