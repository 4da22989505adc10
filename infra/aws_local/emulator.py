"""The emulator `ministack` in a process of its own, on a free port of the loopback interface."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from botocore.config import Config
from botocore.session import Session

from aws_local.ports import free_port

REGION = "eu-central-1"
_START_SECONDS = 60
# The emulator takes any; these are what its own Lambdas are given.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@dataclass(eq=False)
class Emulator:
    """A running emulator; compared by identity."""

    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        """The emulator's address, for AWS clients."""
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def _session(self) -> Session:
        return Session()

    def client(self, service: str) -> Any:
        """Create a botocore client of a service."""
        return self._session.create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(
                retries={"total_max_attempts": 2},
                read_timeout=300,
                max_pool_connections=50,
                request_checksum_calculation="when_required",
            ),
        )


@contextmanager
def running_emulator(log: Any = subprocess.DEVNULL) -> Iterator[Emulator]:
    """Run an emulator until the block ends; its data are deleted then."""
    with tempfile.TemporaryDirectory(prefix="aws-local-", ignore_cleanup_errors=True) as folder:
        yield from _run(free_port(), folder, log)


def _run(port: int, folder: str, log: Any) -> Iterator[Emulator]:
    environment = {
        **os.environ,
        **CREDENTIALS,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        # Where it leaves what it made for its Lambdas, and its state.
        "TMPDIR": folder,
        "STATE_DIR": folder,
        "S3_PERSIST": "0",
        # Listeners beyond the loopback interface that nobody needs here.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"], env=environment, stdout=log, stderr=log
    )
    emulator = Emulator(port, process)
    try:
        _wait_until_ready(emulator)
        yield emulator
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(emulator: Emulator) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if emulator.process.poll() is not None:
            raise RuntimeError("the emulator ended as it started; see its log")
        try:
            with urlopen(f"{emulator.url}/_ministack/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"the emulator was not ready within {_START_SECONDS} s")
