"""Profiles of Hypothesis, the emulator, and the rule that splits the tests into two commands."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import settings

from aws_local.emulator import Emulator, running_emulator
from image_poster.adapters.sqlite import database as sqlite_database

# The same examples each time, more of them in CI; with EXPLORE=1, new ones each time.
settings.register_profile("desk", deadline=None, max_examples=100, derandomize=True)
settings.register_profile("ci", deadline=None, max_examples=300, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=300)
settings.load_profile(
    "explore" if os.environ.get("EXPLORE") else "ci" if os.environ.get("CI") else "desk"
)
# httpx gives each part of a request 5 s where a test says nothing else: too few on a busy machine.
for _part in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _part, 60.0)
# A slow disk makes the next rewrite of a database wait, which only servers in use need.
sqlite_database._PAUSE_PER_REWRITE = 0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """One emulator of AWS, empty, for all tests that talk to its services themselves."""
    with running_emulator() as running:
        yield running


# The folders whose tests `make test` leaves out, each with the reason; a test marked `quick` stays.
SLOW_FOLDERS = {
    "aws": "builds packages, or starts the emulator of AWS",
    "browser": "starts a browser",
    "e2e": "starts processes for each test",
}
_ASKS_AWS = "asks the emulator of AWS, some 55 ms a call"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests by their folder, and those of the contract that ask AWS."""
    for item in items:
        reason = _reason_to_wait(item)
        if reason and item.get_closest_marker("quick") is None:
            item.add_marker(pytest.mark.slow(reason))


def _reason_to_wait(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    if callspec is not None and callspec.params.get("api") == "aws":
        return _ASKS_AWS
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return SLOW_FOLDERS.get(folder)
