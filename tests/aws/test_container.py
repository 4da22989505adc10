"""The container's behaviour that shows on AWS only."""

import os
import subprocess
import sys

import httpx
import pytest
from botocore.session import get_session

from aws_local.emulator import CREDENTIALS
from fakes.clock import ManualClock
from image_poster.adapters.s3.uploads import S3PutUrlSigner
from image_poster.domain.uploads import PutTerms
from image_poster.editions.aws import container


@pytest.mark.parametrize("region", ["eu-central-1", "us-east-1"])
def test_signed_urls_lead_to_the_region_of_their_bucket(
    monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    """The global endpoint would redirect, and a signed PUT does not survive that."""
    for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": region}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(container, "_session", get_session)
    client = container.client.__wrapped__("s3")
    urls = S3PutUrlSigner(client, "uploads-of-somebody", ManualClock(1_800_000_000_000))
    way = urls.sign("01K", PutTerms("image/png", 9, b""), 1_800_000_060_000)
    assert httpx.URL(way.url).host in {
        f"uploads-of-somebody.s3.{region}.amazonaws.com",
        *(["uploads-of-somebody.s3.amazonaws.com"] if region == "us-east-1" else []),
    }
    client.close()


DUMPABLE = """
import ctypes
PR_GET_DUMPABLE = 3
print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE), end=" ")
import image_poster.editions.aws.images
print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE))
"""


def test_the_image_lambda_hides_its_credentials_from_its_decoders() -> None:
    """A process that is not dumpable has no /proc/PID/environ for others of its user (proc(5))."""
    done = subprocess.run(
        [sys.executable, "-c", DUMPABLE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **CREDENTIALS, "AWS_DEFAULT_REGION": "eu-central-1"},
    )
    assert done.stdout == "1 0\n"
