"""`infra/template.yaml`, deployed to the emulator with four changes.

- The Lambdas' code: they run in the emulator's own interpreter, which has this package already.
- No requirement of TLS, which the emulator does not support.
- No gradual deployment, since the emulator has no CodeDeploy.
- No alarms of ratios: they are of errors instead, since the emulator has no metric math.
"""

import io
import re
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from aws_local.emulator import Emulator
from gallery_bucket import put_gallery

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
_ARTIFACTS = "image-poster-artifacts"
_DEPLOY_SECONDS = 120
_CODE = re.compile(r"CodeUri: \.\./dist/\w+\.zip")
_GRADUAL = re.compile(r"      DeploymentPreference:\n(?:        .*\n)+")
_RATIO = re.compile(r"      Metrics:\n(?:        .*\n)+")
_ERRORS = """\
      Namespace: AWS/Lambda
      MetricName: Errors
      Statistic: Sum
      Period: 60
"""


class Stack(NamedTuple):
    """A deployed stack: its name and outputs."""

    name: str
    outputs: dict[str, str]


def deploy(emulator: Emulator, name: str, **parameters: str) -> Stack:
    """Create the stack and wait for it. Raises `RuntimeError` with the reason. It also raises
    `RuntimeError` if routes are missing: the emulator once deployed an API without any."""
    _keep_artifacts(emulator, adapted(TEMPLATE.read_text()))
    formation = emulator.client("cloudformation")
    formation.create_stack(
        StackName=name,
        # 51,200 bytes is the most that can be given by itself (CloudFormation quotas).
        TemplateURL=f"{emulator.url}/{_ARTIFACTS}/template.yaml",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )
    stack = Stack(name, outputs_of(await_created(formation, name)))
    _check_routes(emulator, stack)
    put_gallery(emulator.client("s3"), stack.outputs["GalleryBucket"])
    return stack


def adapted(template: str) -> str:
    """Return the template in a form that the emulator can deploy and run."""
    return _CODE.sub(f"CodeUri: s3://{_ARTIFACTS}/code.zip", for_emulator(template))


def for_emulator(template: str, *, gradual: bool = False) -> str:
    """Return the template in a form that the emulator can deploy, with its own code paths. If it
    still has the gradual deployment, the emulator can deploy it only as a hotfix."""
    # Else the buckets would refuse everything.
    template = template.replace('aws:SecureTransport: "false"', 'aws:SecureTransport: "true"')
    template = _RATIO.sub(_ERRORS, template)
    return template if gradual else _GRADUAL.sub("", template)


def _keep_artifacts(emulator: Emulator, template: str) -> None:
    storage = emulator.client("s3")
    with suppress(storage.exceptions.BucketAlreadyOwnedByYou):
        storage.create_bucket(
            Bucket=_ARTIFACTS,
            CreateBucketConfiguration={"LocationConstraint": storage.meta.region_name},
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("about.txt", "The code is the emulator's own.")
    storage.put_object(Bucket=_ARTIFACTS, Key="code.zip", Body=packed.getvalue())
    storage.put_object(Bucket=_ARTIFACTS, Key="template.yaml", Body=template.encode())


def await_created(formation: Any, name: str, seconds: float = _DEPLOY_SECONDS) -> dict[str, Any]:
    """Return the stack's description once it is there. Raises `RuntimeError` if its creation fails,
    or takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            return dict(stack)
        if not stack["StackStatus"].endswith("IN_PROGRESS"):
            events = formation.describe_stack_events(StackName=name)["StackEvents"]
            reasons = [event.get("ResourceStatusReason", "") for event in events]
            raise RuntimeError(f"{name}: {stack['StackStatus']}: {list(filter(None, reasons))}")
        time.sleep(0.05)
    raise RuntimeError(f"the stack {name} was not there within {seconds} s")


def outputs_of(stack: dict[str, Any]) -> dict[str, str]:
    """Return the outputs in a stack's description, by their keys."""
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _check_routes(emulator: Emulator, stack: Stack) -> None:
    gateway = emulator.client("apigatewayv2")
    routes = gateway.get_routes(ApiId=stack.outputs["ApiId"])["Items"]
    expected = TEMPLATE.read_text().count("AWS::ApiGatewayV2::Route\n")
    if len(routes) != expected:
        raise RuntimeError(f"{len(routes)} routes were deployed instead of {expected}")
