"""A device whose clock is wrong, and is corrected while an entry waits for `Retry-After`."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from support.browsers import WAIT_FOR_LIMIT, Gallery
from support.servers import Server, local_server

OpenGallery = Callable[..., Gallery]
_DAY_MS = 86_400_000
# The device's clock, ahead by `sessionStorage.ahead` ms, and how often a timer is set.
_CLOCK = """
    const now = Date.now;
    Date.now = () => now() + Number(sessionStorage.ahead ?? AHEAD);
    window.timers = 0;
    const set = window.setTimeout;
    window.setTimeout = (...given) => { window.timers += 1; return set(...given); };
"""
_TIMERS_OF_A_SECOND = """() => new Promise((done) => {
    const before = window.timers;
    const start = performance.now();
    const look = () => performance.now() - start < 1000
        ? requestAnimationFrame(look)
        : done(window.timers - before);
    look();
})"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One write a minute: the second post waits for up to two minutes."""
    with local_server(tmp_path_factory.mktemp("data"), "--writes-per-minute", "1") as server:
        yield server


def _waiting(gallery: Gallery, user: str) -> None:
    """The second of two posts waits, and the clock is corrected meanwhile."""
    gallery.sign_in(user)
    gallery.post("The first", "The second")
    expect(gallery.uploads).to_contain_text(WAIT_FOR_LIMIT)
    gallery.page.evaluate("() => { sessionStorage.ahead = 0; }")
    assert gallery.page.evaluate(_TIMERS_OF_A_SECOND) < 30
    expect(gallery.uploads).to_contain_text(WAIT_FOR_LIMIT)


@pytest.mark.parametrize("ahead", [_DAY_MS, 365 * _DAY_MS])
def test_a_wait_is_as_long_as_the_service_said_though_the_clock_is_set_back(
    open_gallery: OpenGallery, context: BrowserContext, strict: Server, ahead: int
) -> None:
    context.add_init_script(_CLOCK.replace("AHEAD", str(ahead)))
    gallery = open_gallery(strict.url)
    _waiting(gallery, f"alice {ahead}")
    gallery.page.reload()
    assert gallery.page.evaluate(_TIMERS_OF_A_SECOND) < 30
    expect(gallery.uploads).to_contain_text(WAIT_FOR_LIMIT)


def test_an_entry_whose_age_is_not_known_asks_before_it_is_sent_again(
    open_gallery: OpenGallery, context: BrowserContext, strict: Server
) -> None:
    """A clock that was a year behind is like a device that nobody used for a year."""
    context.add_init_script(_CLOCK.replace("AHEAD", str(-365 * _DAY_MS)))
    gallery = open_gallery(strict.url)
    _waiting(gallery, "bob")
    gallery.page.reload()
    expect(gallery.uploads).to_contain_text("the clock of this device was wrong")
