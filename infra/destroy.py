"""`python -m destroy STACK`: delete a stack of a stage that is not `prod`, with all that is in it.
A stack whose first deployment failed is deleted at any stage.

CloudFormation deletes no bucket that is not empty (user guide, "Deleting a stack"); so its buckets
are emptied first, of all versions. Nor does it delete a table or user pool that is protected, also
not while it rolls back a creation. And what is retained except on creation is retained when the
stack is deleted after a rollback that failed (template reference, "DeletionPolicy").
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from stacks import find_stack, never_came_up, stage_of

_AT_A_TIME = 1000  # DeleteObjects
_PAUSE_SECONDS = 5
_BUCKET = "AWS::S3::Bucket"
_TABLE = "AWS::DynamoDB::Table"
_POOL = "AWS::Cognito::UserPool"
_GONE = {"NoSuchBucket", "ResourceNotFoundException"}


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
    stack = find_stack(formation, name)
    if stack is None:
        raise CannotDestroyError("there is no stack of this name")
    is_new = never_came_up(stack)
    if not is_new and stage_of(stack) != "dev":
        raise CannotDestroyError("it is no stack of stage dev; a prod stack is not deleted")
    resources = _created(formation, name) if is_new else _resources(formation, name)
    if is_new:
        _unprotect(session, resources)
    for bucket in _of(resources, _BUCKET):
        _close(storage, bucket)
        _empty(storage, bucket)
    _delete_stack(formation, name, pause_seconds)
    if is_new:
        _delete_retained(session, resources)


def _delete_stack(formation: Any, name: str, pause_seconds: float) -> None:
    formation.delete_stack(StackName=name)
    while (status := _status(formation, name)).endswith("IN_PROGRESS"):
        time.sleep(pause_seconds)
    if status != "DELETE_COMPLETE":
        raise CannotDestroyError(f"it ended as {status}; its events say why")


def _resources(formation: Any, name: str) -> list[dict[str, Any]]:
    """Return the stack's resources. DescribeStackResources would return the first 100 resources
    only (API reference)."""
    pages = formation.get_paginator("list_stack_resources").paginate(StackName=name)
    resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
    there = [each for each in resources if each["ResourceStatus"] != "DELETE_COMPLETE"]
    return [each for each in there if each.get("PhysicalResourceId")]


def _created(formation: Any, name: str) -> list[dict[str, Any]]:
    """Return the resources that this stack has created. Others may belong to a former stack of this
    name: a creation that fails because a bucket exists must not lead to its end."""
    pages = formation.get_paginator("describe_stack_events").paginate(StackName=name)
    created = {
        event["PhysicalResourceId"]
        for page in pages
        for event in page["StackEvents"]
        if event["ResourceStatus"] == "CREATE_COMPLETE"
    }
    resources = _resources(formation, name)
    return [each for each in resources if each["PhysicalResourceId"] in created]


def _of(resources: list[dict[str, Any]], kind: str) -> list[str]:
    return [each["PhysicalResourceId"] for each in resources if each["ResourceType"] == kind]


def _unprotect(session: Session, resources: list[dict[str, Any]]) -> None:
    for table in _of(resources, _TABLE):
        client: Any = session.create_client("dynamodb")
        client.update_table(TableName=table, DeletionProtectionEnabled=False)
    for pool in _of(resources, _POOL):
        client = session.create_client("cognito-idp")
        client.update_user_pool(UserPoolId=pool, DeletionProtection="INACTIVE")


def _delete_retained(session: Session, resources: list[dict[str, Any]]) -> None:
    """Delete the resources of a stack that never came up, as far as its deletion has left them."""
    deletions: dict[str, Callable[[str], object]] = {
        _BUCKET: lambda name: session.create_client("s3").delete_bucket(Bucket=name),
        _TABLE: lambda name: session.create_client("dynamodb").delete_table(TableName=name),
        _POOL: lambda name: session.create_client("cognito-idp").delete_user_pool(UserPoolId=name),
        "AWS::Logs::LogGroup": lambda name: session.create_client("logs").delete_log_group(
            logGroupName=name
        ),
    }
    for kind, delete in deletions.items():
        for name in _of(resources, kind):
            try:
                delete(name)
            except ClientError as exc:
                if exc.response["Error"]["Code"] not in _GONE:
                    raise


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
    stack = find_stack(formation, name)
    return "DELETE_COMPLETE" if stack is None else str(stack["StackStatus"])


if __name__ == "__main__":
    main()
