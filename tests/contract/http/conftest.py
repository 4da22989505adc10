from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from support import api as editions
from support.api import Api
from support.servers import AWS, LOCAL, running

# Small enough that a test can exceed them quickly; equal for all editions.
LIMITS = ("--image-bytes", "2000000", "--image-pixels", "4000000", "--admins", "root")
AWS_LIMITS = ("ImageBytes=2000000", "ImagePixels=4000000", "Admins=root")
# As on one machine, where nobody is limited with `--auth dev`.
AWS_RATES = ("WritesPerMinute=0", "BytesPerDay=0", "UploadsUnderWay=0")


@pytest.fixture(scope="session")
def editions_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Api]]:
    """An edition by its name: started when it is first asked for, and kept for all tests."""
    commands = {
        "local": (LOCAL, ("--data-dir", str(tmp_path_factory.mktemp("data")), *LIMITS)),
        "aws": (AWS, (*AWS_LIMITS, *AWS_RATES)),
    }
    with ExitStack() as stack:

        @cache
        def running_edition(name: str) -> Api:
            command, flags = commands[name]
            server = stack.enter_context(running(command, *flags))
            return stack.enter_context(Api(server.url, getattr(editions, name.upper())))

        yield running_edition


@pytest.fixture(scope="session", params=["local", "aws"])
def api(request: pytest.FixtureRequest, editions_running: Callable[[str], Api]) -> Api:
    """The contract is one: every test here runs over real HTTP against each edition."""
    return editions_running(request.param)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an edition is declared to do otherwise: `@pytest.mark.where(streams=True)`."""
    selected: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (left_out if _differs(item) else selected).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = selected


def _differs(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None or "api" not in callspec.params:
        return False
    edition = getattr(editions, callspec.params["api"].upper())
    marks = item.iter_markers("where")
    return any(
        getattr(edition, flag) is not value for mark in marks for flag, value in mark.kwargs.items()
    )
