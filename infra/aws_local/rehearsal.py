"""`python -m aws_local.rehearsal`: run `make deploy` and `make destroy` against the emulator, for
both stages, with what may go wrong.

- The first deployment fails, is cleared, and is repeated.
- A deployment without `STAGE` does not turn production into a dev stack.
- The origin secret is exchanged.
- A hotfix is deployed while alarms are on. CodeDeploy, which the emulator lacks, is imitated by
  what AWS documents: it stops while an alarm of the deployment is on.

The template lacks the parts that `stack.for_emulator` removes. The zips are those of `make
package`, which the emulator stores and does not run.
"""

import json
import os
import subprocess
import sys
from typing import Any

from aws_local.emulator import CREDENTIALS, REGION, Emulator, running_emulator
from aws_local.rules import QUEUE_RULE, deploy_rule
from aws_local.stack import TEMPLATE, for_emulator, outputs_of

_ROOT = TEMPLATE.parents[1]
# Beside the template, since all name the zips from there.
_ADAPTED = TEMPLATE.with_name(".rehearsal.yaml")
_ADAPTED_GRADUAL = TEMPLATE.with_name(".rehearsal-gradual.yaml")
_DEV, _PROD = "image-poster-dev", "image-poster-prod"
_ACCOUNT = "000000000000"  # the emulator's
_DEPLOY = ("--old-file=package", "deploy")


def main() -> None:
    """Rehearse; exit with code 1 and a message at the first failure."""
    text = TEMPLATE.read_text()
    _ADAPTED.write_text(for_emulator(text))
    _ADAPTED_GRADUAL.write_text(for_emulator(text, gradual=True))
    try:
        with running_emulator() as emulator:
            rehearse(emulator)
    finally:
        _ADAPTED.unlink()
        _ADAPTED_GRADUAL.unlink()


def rehearse(emulator: Emulator) -> None:
    """Deploy both stages, with each case of the module's list, delete dev, and keep prod."""
    _fail_first_deployment(emulator)
    for stage in ("dev", "prod"):
        _make(emulator, *_DEPLOY, f"STAGE={stage}")
        _say(emulator, f"image-poster-{stage}")
    _refuse(emulator, "not dev", *_DEPLOY, f"STACK={_PROD}")
    _refuse(emulator, "not prod", *_DEPLOY, f"STACK={_DEV}", "STAGE=prod")
    _exchange_secret(emulator)
    _hotfix(emulator)
    _rehearse_rule(emulator, _DEV)
    _make(emulator, "destroy", "STAGE=dev")
    if _stacks(emulator).keys() & {_DEV}:
        sys.exit(f"{_DEV} is there still")
    _refuse(emulator, "it is no stack of stage dev", "destroy", "STAGE=prod")
    _say(emulator, _PROD)
    print("both stages were deployed; dev was deleted, and prod is kept")


def _rehearse_rule(emulator: Emulator, name: str) -> None:
    """Deploy the example rule for a queue, put an event on the stack's bus, and receive it from the
    queue. Then delete the rule, since a bus with rules cannot be deleted."""
    bus, rule = outputs_of(_stacks(emulator)[name])["EventBus"], f"{name}-rule"
    queue = deploy_rule(emulator, rule, QUEUE_RULE, Bus=bus)["Queue"]
    entry = {"EventBusName": bus, "Source": "image-poster", "DetailType": "comment.created"}
    emulator.client("events").put_events(Entries=[{**entry, "Detail": '{"id": "evt_rehearsal"}'}])
    received = emulator.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=5)
    bodies = [json.loads(message["Body"]) for message in received.get("Messages", [])]
    if [body["detail"] for body in bodies] != [{"id": "evt_rehearsal"}]:
        sys.exit(f"the queue of the example rule did not get the event: {bodies}")
    emulator.client("cloudformation").delete_stack(StackName=rule)
    print(f"{rule}: its queue got an event from the bus {bus}", flush=True)


def _fail_first_deployment(emulator: Emulator) -> None:
    """A bucket of a former stack has the name that the stack wants."""
    storage = emulator.client("s3")
    former = f"{_PROD}-images-{_ACCOUNT}-{REGION}"
    place = {"LocationConstraint": REGION}
    storage.create_bucket(Bucket=former, CreateBucketConfiguration=place)
    storage.put_object(Bucket=former, Key="images/1", Body=b"image")
    failed = _run(emulator, *_DEPLOY, "STAGE=prod")
    status = _stacks(emulator)[_PROD]["StackStatus"]
    if failed.returncode == 0 or not status.startswith("ROLLBACK"):
        sys.exit(f"the first deployment did not fail: {status}")
    print(f"{_PROD}: the first deployment failed, {status}")
    _refuse(emulator, f"make destroy STACK={_PROD}", *_DEPLOY, "STAGE=prod")
    _make(emulator, "destroy", "STAGE=prod")
    if storage.list_objects_v2(Bucket=former)["KeyCount"] != 1:
        sys.exit("the former stack's bucket was emptied")
    storage.delete_object(Bucket=former, Key="images/1")
    storage.delete_bucket(Bucket=former)


def _exchange_secret(emulator: Emulator) -> None:
    """As docs/aws.md says, "Exchange the origin secret"."""
    outputs = outputs_of(_stacks(emulator)[_PROD])
    secrets = emulator.client("secretsmanager")
    before = _sent_secret(emulator, outputs)
    stored = secrets.put_secret_value(SecretId=outputs["OriginSecret"], SecretString="exchanged")
    parameters = f"PARAMETERS=OriginSecretVersion={stored['VersionId']}"
    _make(emulator, *_DEPLOY, "STAGE=prod", parameters)
    previous = secrets.get_secret_value(
        SecretId=outputs["OriginSecret"], VersionStage="AWSPREVIOUS"
    )["SecretString"]
    after = _sent_secret(emulator, outputs)
    if (before, after) != (previous, "exchanged"):
        sys.exit(f"CloudFront does not send the exchanged secret: {before} {previous} {after}")
    print(f"{_PROD}: CloudFront sends the exchanged secret; the API accepts the previous one too")


def _sent_secret(emulator: Emulator, outputs: dict[str, str]) -> str:
    answer = emulator.client("cloudfront").get_distribution_config(Id=outputs["Distribution"])
    (api,) = [
        origin
        for origin in answer["DistributionConfig"]["Origins"]["Items"]
        if origin["Id"] == "api"
    ]
    return str(api["CustomHeaders"]["Items"][0]["HeaderValue"])


def _hotfix(emulator: Emulator) -> None:
    """Turn all alarms of a stack on. CodeDeploy would stop a deployment whose own alarms are on.
    A new version has new alarms, and a hotfix is without CodeDeploy."""
    before = _turn_on(emulator)
    _ADAPTED.write_text(_repaired(_ADAPTED.read_text(), 1152))
    _make(emulator, *_DEPLOY, "STAGE=dev", "PARAMETERS=LatestKept=5 Events=on")
    ours = _deployment_alarms(emulator)
    if ours.keys() & before.keys() or "ALARM" in ours.values():
        sys.exit(f"CodeDeploy would stop the deployment: {ours}")
    print(f"{_DEV}: CodeDeploy would not stop for the old version's alarms: {ours}")
    _turn_on(emulator)
    _ADAPTED_GRADUAL.write_text(_repaired(_ADAPTED_GRADUAL.read_text(), 1280))
    template = f"TEMPLATE={_ADAPTED_GRADUAL.relative_to(_ROOT)}"
    # With the gradual deployment in the template: SAM makes nothing of CodeDeploy for a hotfix.
    _make(
        emulator, *_DEPLOY, "STAGE=dev", "HOTFIX=1", "PARAMETERS=LatestKept=6 Events=on", template
    )
    _say(emulator, _DEV)


def _repaired(template: str, megabytes: int) -> str:
    """Change the API function, so that it gets a new version."""
    return template.replace("MemorySize: 1024", f"MemorySize: {megabytes}")


def _turn_on(emulator: Emulator) -> dict[str, str]:
    """Turn on the alarms of a deployment and `ApiFaults`; return the former, with their states."""
    watch = emulator.client("cloudwatch")
    for alarm in watch.describe_alarms(AlarmNamePrefix=_DEV)["MetricAlarms"]:
        watch.set_alarm_state(
            AlarmName=alarm["AlarmName"], StateValue="ALARM", StateReason="an incident"
        )
    return _deployment_alarms(emulator)


def _deployment_alarms(emulator: Emulator) -> dict[str, str]:
    alarms = emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{_DEV}-ApiVersion")
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms["MetricAlarms"]}


def _make(emulator: Emulator, *words: str) -> None:
    done = _run(emulator, *words)
    if done.returncode:
        sys.exit(f"make {' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
    print(f"make {' '.join(words)}: {done.stdout.strip().splitlines()[-1]}", flush=True)


def _refuse(emulator: Emulator, reason: str, *words: str) -> None:
    """Check that make refuses, for this reason."""
    refusal = _run(emulator, *words)
    if refusal.returncode == 0 or reason not in refusal.stderr:
        sys.exit(f"make {' '.join(words)} was not refused: {refusal.stdout}{refusal.stderr}")
    print(f"make {' '.join(words)}: {refusal.stderr.strip().splitlines()[0]}", flush=True)


def _run(emulator: Emulator, *words: str) -> "subprocess.CompletedProcess[str]":
    variables = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
    }
    return subprocess.run(
        ["make", f"TEMPLATE={_ADAPTED.relative_to(_ROOT)}", *words],  # noqa: S607 - as we were
        cwd=_ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def _stacks(emulator: Emulator) -> dict[str, Any]:
    stacks = emulator.client("cloudformation").describe_stacks()["Stacks"]
    there = [stack for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"]
    return {stack["StackName"]: stack for stack in there}


def _say(emulator: Emulator, name: str) -> None:
    """Print the status of the stack and the number of files in its gallery's bucket."""
    stack = _stacks(emulator)[name]
    outputs = outputs_of(stack)
    files = emulator.client("s3").list_objects_v2(Bucket=outputs["GalleryBucket"])["KeyCount"]
    print(f"{name}: {stack['StackStatus']}, stage {outputs['Stage']}, {files} files of the gallery")


if __name__ == "__main__":
    main()
