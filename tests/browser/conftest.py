from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright

from support import browsers
from support.api import LOCAL, Api
from support.browsers import CHROMIUM, Gallery
from support.servers import Server, local_server


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and "playwright" in item.fixturenames:
            item.add_marker(browsers.needs_chromium)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """A module's own: while it is there, it runs an event loop in this thread, and no test that has
    one of its own can."""
    with browsers.playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One for the tests of a module that do not kill theirs."""
    running = playwright.chromium.launch(
        executable_path=CHROMIUM, args=browsers.ARGUMENTS, timeout=2 * browsers.PATIENCE_MS
    )
    yield running
    running.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One machine, with names that are believed; the tests of a module share it."""
    with local_server(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with Api(server.url, LOCAL) as server_api:
        yield server_api


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A person's browser, with nothing in it yet."""
    context = browser.new_context()
    context.set_default_timeout(browsers.PATIENCE_MS)
    yield context
    context.close()


OpenGallery = Callable[..., Gallery]


@pytest.fixture
def open_gallery(context: BrowserContext) -> Iterator[OpenGallery]:
    """Opens the gallery of a URL in a new tab; at the end, no console had anything to say."""
    with ExitStack() as stack:

        def opened(url: str, path: str = "/") -> Gallery:
            gallery = Gallery(context.new_page(), url)
            stack.callback(lambda: _assert_silent(gallery))
            gallery.open(path)
            return gallery

        yield opened


def _assert_silent(gallery: Gallery) -> None:
    assert gallery.faults == []
