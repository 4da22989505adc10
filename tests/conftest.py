import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from aws_local.emulator import Emulator, running_emulator

# CI examines more and is reproducible; at one's desk, new examples each time.
settings.register_profile("desk", deadline=None, max_examples=100)
settings.register_profile("ci", deadline=None, max_examples=300, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """One emulator of AWS, empty, for all tests that talk to its services themselves."""
    with running_emulator() as running:
        yield running
