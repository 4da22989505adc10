from collections.abc import Iterator

import pytest

from support.api import Api
from support.servers import LOCAL, MEMORY, running

# Small enough that a test can exceed them quickly; equal for all editions.
LIMITS = ("--image-bytes", "2000000", "--image-pixels", "4000000", "--admins", "root")


@pytest.fixture(scope="session", params=["local", "memory"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The contract is one: every test here runs over real HTTP against each edition."""
    if request.param == "memory":
        command, flags = MEMORY, LIMITS
    else:
        command, flags = LOCAL, ("--data-dir", str(tmp_path_factory.mktemp("data")), *LIMITS)
    with running(command, *flags) as server, Api(server.url, request.param) as found:
        yield found
