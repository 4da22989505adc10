"""A device whose clock is wrong, and is corrected while an entry waits for `Retry-After`."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from support.browsers import Gallery
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
_UNDER_TWO_MINUTES = re.compile(r"Trying again in \d{1,2} s\. That was more than the service takes")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One write a minute: the second post waits for up to 60 s."""
    with local_server(tmp_path_factory.mktemp("data"), "--writes-per-minute", "1") as server:
        yield server


@pytest.mark.parametrize("ahead", [_DAY_MS, 365 * _DAY_MS, -365 * _DAY_MS])
def test_a_wait_is_as_long_as_the_service_said_after_the_clock_is_corrected(
    open_gallery: OpenGallery, context: BrowserContext, strict: Server, ahead: int
) -> None:
    context.add_init_script(_CLOCK.replace("AHEAD", str(ahead)))
    gallery = open_gallery(strict.url)
    gallery.sign_in(f"alice {ahead}")
    gallery.post("The first", "The second")
    expect(gallery.uploads).to_contain_text(_UNDER_TWO_MINUTES)
    gallery.page.evaluate("() => { sessionStorage.ahead = 0; }")
    assert gallery.page.evaluate(_TIMERS_OF_A_SECOND) < 30
    expect(gallery.uploads).to_contain_text(_UNDER_TWO_MINUTES)
    gallery.page.reload()
    if (
        ahead > 0
    ):  # else the wait is over by the corrected clock, and the service says how long again
        assert gallery.page.evaluate(_TIMERS_OF_A_SECOND) < 30
    expect(gallery.uploads).to_contain_text(_UNDER_TWO_MINUTES)
