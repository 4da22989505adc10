"""A segment in X-Ray for each call of AWS, below the segment that Lambda makes for the invocation.

Each segment goes as one datagram to the daemon that runs beside each Lambda. Neither S3 nor
DynamoDB Streams pass a trace on, so each segment is annotated with the service's request id. By
`annotation.request_id = "…"` X-Ray finds the traces of all Lambdas that worked for one request.
docs/decisions explains why the service uses no SDK of AWS for it.

Sources:
https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html
https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
"""

import json
import os
import secrets
import socket
import time
from typing import Any

import structlog

BotocoreObject = Any  # botocore makes its classes at run time
_HEADER = b'{"format": "json", "version": 1}\n'
_TRACE, _DAEMON = "_X_AMZN_TRACE_ID", "AWS_XRAY_DAEMON_ADDRESS"
_STARTED = "image_poster.started"
_THROTTLED, _CLIENT_ERROR, _SERVER_ERROR = 429, 400, 500


def follow(client: BotocoreObject) -> None:
    """Report each of the client's calls to X-Ray, if there is a daemon."""
    if os.environ.get(_DAEMON):
        client.meta.events.register("before-call", _start)
        client.meta.events.register("after-call", _end)
        client.meta.events.register("after-call-error", _fail)


def _start(model: BotocoreObject, context: dict[str, Any], **_: BotocoreObject) -> None:
    context[_STARTED] = (model, time.time())


def _end(
    http_response: BotocoreObject,
    parsed: dict[str, Any],
    context: dict[str, Any],
    **_: BotocoreObject,
) -> None:
    status = int(http_response.status_code)
    metadata = parsed.get("ResponseMetadata", {})
    outcome: dict[str, Any] = {
        "http": {"response": {"status": status}},
        "error": _CLIENT_ERROR <= status < _SERVER_ERROR,
        "throttle": status == _THROTTLED,
        "fault": status >= _SERVER_ERROR,
    }
    _send(context[_STARTED], outcome, str(metadata.get("RequestId", "")))


def _fail(context: dict[str, Any], **_: BotocoreObject) -> None:
    """Report a call that did not reach AWS, or had no response in time."""
    _send(context[_STARTED], {"fault": True}, "")


def _send(started: tuple[BotocoreObject, float], outcome: dict[str, Any], aws_id: str) -> None:
    trace = dict(
        part.split("=", 1) for part in os.environ.get(_TRACE, "").split(";") if "=" in part
    )
    if trace.get("Sampled") != "1" or not {"Root", "Parent"} <= trace.keys():
        return
    model, start_seconds = started
    call = {
        "operation": model.name,
        "region": os.environ.get("AWS_REGION", ""),
        "request_id": aws_id,
    }
    document = {
        "name": model.service_model.service_id.hyphenize(),
        "id": secrets.token_hex(8),
        "trace_id": trace["Root"],
        "parent_id": trace["Parent"],
        "type": "subsegment",
        "namespace": "aws",
        "start_time": start_seconds,
        "end_time": time.time(),
        "aws": call,
        "annotations": {"request_id": _request_id()},
        **outcome,
    }
    host, _, port = os.environ[_DAEMON].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.sendto(_HEADER + json.dumps(document).encode(), (host, int(port)))


def _request_id() -> str:
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))
