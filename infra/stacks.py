"""The state of a deployed stack. `python infra/stacks.py STACK STAGE`, as `make deploy` runs it,
refuses a stage that is not the stack's.

A stack has its parameters from its creation on, but outputs only after it came up. `sam deploy`
keeps the values of parameters that it is not given, but `make deploy` gives `Stage` each time. So
`make deploy STACK=image-poster-prod` without a stage would make production a dev stack.
"""

import sys
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

# The stack's creation failed, was rolled back, or never began (CloudFormation user guide, "Stack
# status codes"). No Lambda of it ever got a request. The only way on is to delete it.
_NEVER_CAME_UP = {"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"}
_WITHOUT_RESOURCES = {"REVIEW_IN_PROGRESS"}


class WrongStageError(Exception):
    """The reason why the stack cannot be deployed with this stage."""


def find_stack(formation: Any, name: str) -> dict[str, Any] | None:
    """Return the description of a stack, or None if there is none of this name."""
    try:
        (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as exc:
        if "does not exist" in str(exc):
            return None
        raise
    return dict(stack)


def stage_of(stack: dict[str, Any]) -> str:
    """Return the parameter `Stage` of a stack; empty if it has none."""
    parameters = stack.get("Parameters", [])
    values = {each["ParameterKey"]: each.get("ParameterValue", "") for each in parameters}
    return str(values.get("Stage", ""))


def never_came_up(stack: dict[str, Any]) -> bool:
    """True if the first deployment of the stack failed, so that nothing was ever stored in it."""
    return stack["StackStatus"] in _NEVER_CAME_UP | _WITHOUT_RESOURCES


def check_stage(formation: Any, name: str, stage: str) -> None:
    """Raises `WrongStageError` if the stack exists and is of another stage, of another program, or
    can only be deleted."""
    stack = find_stack(formation, name)
    if stack is None or stack["StackStatus"] in _WITHOUT_RESOURCES:
        return
    if stack["StackStatus"] in _NEVER_CAME_UP:
        raise WrongStageError(
            f"its first deployment failed ({stack['StackStatus']}). Run "
            f"`make destroy STACK={name}`, then deploy again."
        )
    present = stage_of(stack)
    if not present:
        raise WrongStageError("it is no stack of image-poster. Choose another name.")
    if present != stage:
        raise WrongStageError(
            f"it is of stage {present}, not {stage}. "
            f"Run `make deploy STAGE={present} STACK={name}`."
        )


def main(name: str, stage: str) -> None:
    """Check with the current AWS profile; exit with code 1 and a message if it is refused."""
    try:
        check_stage(Session().create_client("cloudformation"), name, stage)
    except (WrongStageError, ClientError, BotoCoreError) as exc:
        sys.exit(f"{name} was not deployed: {exc}")


if __name__ == "__main__":
    main(*sys.argv[1:])
