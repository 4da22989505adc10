"""The example rules of docs/aws.md, section "Events", and their deployment to the emulator."""

import re
from typing import Any, Protocol

from aws_local.stack import TEMPLATE, await_created, outputs_of

_PAGE = TEMPLATE.parents[1] / "docs" / "aws.md"
_RULE = re.compile(r"^```yaml\n(# A rule for an? (.+?)\.\n.*?)^```$", re.MULTILINE | re.DOTALL)
QUEUE_RULE = "queue"
_DEPLOY_SECONDS = 30


class Clients(Protocol):
    """Clients of an emulator's services."""

    def client(self, service: str) -> Any:
        """Create a botocore client of a service."""
        ...


def example_rules() -> dict[str, str]:
    """Return the templates of the example rules, each by its target."""
    return {target: template for template, target in _RULE.findall(_PAGE.read_text())}


def deploy_rule(emulator: Clients, name: str, target: str, **parameters: str) -> dict[str, str]:
    """Deploy the example rule for this target as the stack `name`. Return its outputs. Raises
    `RuntimeError`."""
    formation = emulator.client("cloudformation")
    formation.create_stack(
        StackName=name,
        TemplateBody=example_rules()[target],
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )
    return outputs_of(await_created(formation, name, _DEPLOY_SECONDS))
