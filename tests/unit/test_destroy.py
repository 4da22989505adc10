"""`make destroy` of a stack whose creation failed and could not be rolled back.

The emulator deletes protected tables and users, so an account in memory does here as AWS documents.
"""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from destroy import CannotDestroyError, destroy

KINDS = {
    "table": "AWS::DynamoDB::Table",
    "pool": "AWS::Cognito::UserPool",
    "ours": "AWS::S3::Bucket",
    "former": "AWS::S3::Bucket",
    "logs": "AWS::Logs::LogGroup",
    "topic": "AWS::SNS::Topic",
}


def gone(name: str) -> ClientError:
    return ClientError({"Error": {"Code": "ResourceNotFoundException"}}, name)


class Account:
    """Session and clients of an account with one stack. What it retains except on creation stays
    when the stack is deleted (template reference, "DeletionPolicy")."""

    def __init__(self, status: str, stage: str = "prod") -> None:
        self.status, self.stage = status, stage
        self.there = set(KINDS)
        self.protected = {"table", "pool"}
        self.objects = {"ours": ["a", "b"], "former": ["c"]}

    def create_client(self, _service: str) -> "Account":
        return self

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - botocore's
        if self.status == "DELETE_COMPLETE":
            message = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "")
        parameters = [{"ParameterKey": "Stage", "ParameterValue": self.stage}]
        return {"Stacks": [{"StackStatus": self.status, "Parameters": parameters}]}

    def get_paginator(self, operation: str) -> "Pages":
        if operation == "list_stack_resources":
            return Pages({"StackResourceSummaries": [self._resource(name) for name in KINDS]})
        created = [self._event(name) for name in KINDS if name != "former"]
        return Pages({"StackEvents": created})

    def _resource(self, name: str) -> dict[str, str]:
        status = "CREATE_FAILED" if name == "former" else "DELETE_FAILED"
        return {
            "PhysicalResourceId": name,
            "ResourceType": KINDS[name],
            "ResourceStatus": status,
        }

    def _event(self, name: str) -> dict[str, str]:
        return {"PhysicalResourceId": name, "ResourceStatus": "CREATE_COMPLETE"}

    def update_table(self, **_: Any) -> None:
        self.protected.discard("table")

    def update_user_pool(self, **_: Any) -> None:
        self.protected.discard("pool")

    def put_bucket_notification_configuration(self, **_: Any) -> None:
        """Nothing is notified here."""

    def list_object_versions(self, **place: Any) -> dict[str, Any]:
        keys = self.objects[place["Bucket"]]
        return {"Versions": [{"Key": key, "VersionId": "1"} for key in keys]}

    def delete_objects(self, **place: Any) -> dict[str, Any]:
        self.objects[place["Bucket"]] = []
        return {}

    def delete_stack(self, **_: Any) -> None:
        self.there -= {"topic"}
        self.status = "DELETE_COMPLETE"

    def delete_bucket(self, **named: Any) -> None:
        assert not self.objects[named["Bucket"]]
        self._delete(named["Bucket"])

    def delete_table(self, **named: Any) -> None:
        self._delete(named["TableName"])

    def delete_user_pool(self, **named: Any) -> None:
        self._delete(named["UserPoolId"])

    def delete_log_group(self, **named: Any) -> None:
        if named["logGroupName"] not in self.there:
            raise gone("DeleteLogGroup")
        self._delete(named["logGroupName"])

    def _delete(self, name: str) -> None:
        assert name not in self.protected
        self.there.remove(name)


class Pages:
    def __init__(self, page: dict[str, Any]) -> None:
        self._page = page

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [self._page]


@pytest.mark.parametrize("status", ["ROLLBACK_FAILED", "CREATE_FAILED"])
@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_stack_that_never_came_up_is_cleared_of_all_that_it_created(
    status: str, stage: str
) -> None:
    account: Any = Account(status, stage)
    account.there.discard("logs")  # somebody deleted it by hand
    destroy(account, "first", pause_seconds=0)
    assert account.there == {"former"}
    assert account.objects["former"] == ["c"]


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"])
def test_a_prod_stack_that_came_up_is_not_deleted(status: str) -> None:
    account: Any = Account(status)
    with pytest.raises(CannotDestroyError, match="prod"):
        destroy(account, "kept", pause_seconds=0)
    assert account.there == set(KINDS)
    assert account.protected == {"table", "pool"}


def test_a_stack_that_is_not_there_is_told() -> None:
    account: Any = Account("DELETE_COMPLETE")
    with pytest.raises(CannotDestroyError, match="no stack"):
        destroy(account, "none", pause_seconds=0)
