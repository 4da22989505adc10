"""Each call of AWS is a segment in X-Ray below the Lambda's, found by our request id."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from botocore.session import Session

from aws_local.emulator import CREDENTIALS
from image_poster.editions.aws import tracing


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The X-Ray daemon, as it runs beside each Lambda."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(5)
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", f"127.0.0.1:{daemon.getsockname()[1]}")
        yield daemon


@pytest.fixture
def client(daemon: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Of a table that nobody serves: the call itself fails, which is told as well."""
    assert daemon.fileno() > 0
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    client = Session().create_client(
        "dynamodb",
        region_name="eu-central-1",
        endpoint_url="http://127.0.0.1:9",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1),
    )
    tracing.follow(client)
    yield client
    client.close()


def call(client: Any) -> None:
    with pytest.raises(EndpointConnectionError):
        client.get_item(TableName="table", Key={"PK": {"S": "1"}})


def test_a_call_is_a_subsegment_that_knows_its_request(
    client: Any, daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html"""
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
    with structlog.contextvars.bound_contextvars(request_id="request-1"):
        call(client)
    header, _, body = daemon.recv(65_536).partition(b"\n")
    assert json.loads(header) == {"format": "json", "version": 1}
    segment = json.loads(body)
    assert segment["trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"
    assert segment["parent_id"] == "53995c3f42cd8ad8"
    assert (segment["type"], segment["namespace"], segment["name"]) == (
        "subsegment",
        "aws",
        "dynamodb",
    )
    assert segment["aws"]["operation"] == "GetItem"
    assert segment["annotations"] == {"request_id": "request-1"}
    assert segment["start_time"] <= segment["end_time"]
    assert segment["fault"] is True
    assert len(segment["id"]) == 16


@pytest.mark.parametrize("trace", ["", "Root=1-2-3;Parent=4;Sampled=0", "nonsense"])
def test_what_is_not_sampled_is_not_told(
    client: Any, daemon: socket.socket, monkeypatch: pytest.MonkeyPatch, trace: str
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
    call(client)
    daemon.setblocking(False)
    with pytest.raises(BlockingIOError):
        daemon.recv(65_536)
