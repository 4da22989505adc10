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
    """Leave out the cases that an edition does otherwise, and those that repeat the same code.

    `@pytest.mark.where(streams=True)` names the flags of editions that a test needs. Of a test with
    `@pytest.mark.same_code("reason")`, AWS runs the first case only.
    """
    selected: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    repeated: set[str] = set()
    for item in items:
        (deselected if _differs(item) or _repeats(item, repeated) else selected).append(item)
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = selected


def _edition(item: pytest.Item) -> editions.Edition | None:
    """The edition of a case of the contract."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or "api" not in callspec.params:
        return None
    edition: editions.Edition = getattr(editions, callspec.params["api"].upper())
    return edition


def _differs(item: pytest.Item) -> bool:
    edition = _edition(item)
    return edition is not None and any(
        getattr(edition, flag) is not value
        for mark in item.iter_markers("where")
        for flag, value in mark.kwargs.items()
    )


def _repeats(item: pytest.Item, repeated: set[str]) -> bool:
    """True for each case on AWS but the first of a test of `same_code`."""
    if _edition(item) is not editions.AWS or item.get_closest_marker("same_code") is None:
        return False
    test = item.nodeid.partition("[")[0]
    is_first = test not in repeated
    repeated.add(test)
    return not is_first
