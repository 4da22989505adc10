"""`python -m aws_local.rehearsal`: run `make deploy` and `make destroy` against the emulator, for
both stages.

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
from aws_local.stack import TEMPLATE, for_emulator

_ROOT = TEMPLATE.parents[1]
# Beside the template, since both name the zips from there.
_ADAPTED = TEMPLATE.with_name(".rehearsal.yaml")
_REFUSED = "it is no stack of stage dev"


def main() -> None:
    """Rehearse; exit with code 1 and a message at the first failure."""
    _ADAPTED.write_text(for_emulator(TEMPLATE.read_text()))
    try:
        with running_emulator() as emulator:
            rehearse(emulator)
    finally:
        _ADAPTED.unlink()


def rehearse(emulator: Emulator) -> None:
    """Deploy both stages, change one, add an example rule to its events, delete dev, and check that
    prod cannot be deleted."""
    for stage in ("dev", "prod"):
        _make(emulator, "--old-file=package", "deploy", f"STAGE={stage}")
        _say(emulator, f"image-poster-{stage}")
    _make(
        emulator, "--old-file=package", "deploy", "STAGE=dev", "PARAMETERS=LatestKept=5 Events=on"
    )
    _say(emulator, "image-poster-dev")
    _rehearse_rule(emulator, "image-poster-dev")
    _make(emulator, "destroy", "STAGE=dev")
    if _stacks(emulator).keys() & {"image-poster-dev"}:
        sys.exit("image-poster-dev is there still")
    refusal = _run(emulator, "destroy", "STAGE=prod")
    if refusal.returncode == 0 or _REFUSED not in refusal.stderr:
        sys.exit(f"destroying prod was not refused: {refusal.stdout}{refusal.stderr}")
    _say(emulator, "image-poster-prod")
    print("both stages were deployed; dev was deleted, and prod is kept")


def _rehearse_rule(emulator: Emulator, name: str) -> None:
    """Deploy the example rule for a queue, put an event on the stack's bus, and receive it from the
    queue. Then delete the rule, since a bus with rules cannot be deleted."""
    bus, rule = _outputs(emulator, name)["EventBus"], f"{name}-rule"
    queue = deploy_rule(emulator, rule, QUEUE_RULE, Bus=bus)["Queue"]
    entry = {"EventBusName": bus, "Source": "image-poster", "DetailType": "comment.created"}
    emulator.client("events").put_events(Entries=[{**entry, "Detail": '{"id": "evt_rehearsal"}'}])
    received = emulator.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=5)
    bodies = [json.loads(message["Body"]) for message in received.get("Messages", [])]
    if [body["detail"] for body in bodies] != [{"id": "evt_rehearsal"}]:
        sys.exit(f"the queue of the example rule did not get the event: {bodies}")
    emulator.client("cloudformation").delete_stack(StackName=rule)
    print(f"{rule}: its queue got an event from the bus {bus}", flush=True)


def _make(emulator: Emulator, *words: str) -> None:
    done = _run(emulator, *words)
    if done.returncode:
        sys.exit(f"make {' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
    print(f"make {' '.join(words)}: {done.stdout.strip().splitlines()[-1]}", flush=True)


def _run(emulator: Emulator, *words: str) -> "subprocess.CompletedProcess[str]":
    variables = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
    }
    return subprocess.run(
        ["make", *words, f"TEMPLATE={_ADAPTED.relative_to(_ROOT)}"],  # noqa: S607 - as we were
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


def _outputs(emulator: Emulator, name: str) -> dict[str, str]:
    stack = _stacks(emulator)[name]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _say(emulator: Emulator, name: str) -> None:
    """Print the status of the stack and the number of files in its gallery's bucket."""
    stack, outputs = _stacks(emulator)[name], _outputs(emulator, name)
    files = emulator.client("s3").list_objects_v2(Bucket=outputs["GalleryBucket"])["KeyCount"]
    print(f"{name}: {stack['StackStatus']}, stage {outputs['Stage']}, {files} files of the gallery")


if __name__ == "__main__":
    main()
