import os

import pytest
from hypothesis import settings

# CI examines more and is reproducible; at one's desk, new examples each time.
settings.register_profile("desk", deadline=None, max_examples=100)
settings.register_profile("ci", deadline=None, max_examples=300, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
