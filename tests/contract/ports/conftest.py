from collections.abc import Iterator

import pytest

from aws_local.emulator import Emulator, running_emulator


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """One emulator of AWS for all tests here."""
    with running_emulator() as running:
        yield running
