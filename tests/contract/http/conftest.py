from collections.abc import Iterator

import pytest

from support import api as editions
from support.api import Api
from support.servers import AWS, LOCAL, MEMORY, running

# Small enough that a test can exceed them quickly; equal for all editions.
LIMITS = ("--image-bytes", "2000000", "--image-pixels", "4000000", "--admins", "root")
AWS_LIMITS = ("ImageBytes=2000000", "ImagePixels=4000000", "Admins=root")


@pytest.fixture(scope="session", params=["local", "memory", "aws"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The contract is one: every test here runs over real HTTP against each edition."""
    command, flags, edition = {
        "local": (
            LOCAL,
            ("--data-dir", str(tmp_path_factory.mktemp("data")), *LIMITS),
            editions.LOCAL,
        ),
        "memory": (MEMORY, LIMITS, editions.MEMORY),
        "aws": (AWS, AWS_LIMITS, editions.AWS),
    }[request.param]
    with running(command, *flags) as server, Api(server.url, edition) as found:
        yield found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an edition is declared to do otherwise: `@pytest.mark.where(streams=True)`."""
    kept, left_out = [], []
    for item in items:
        (left_out if _differs(item) else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def _differs(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None or "api" not in callspec.params:
        return False
    edition = getattr(editions, callspec.params["api"].upper())
    marks = item.iter_markers("where")
    return any(
        getattr(edition, flag) is not value for mark in marks for flag, value in mark.kwargs.items()
    )
