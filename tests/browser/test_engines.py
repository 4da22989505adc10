"""The gallery's main flow in Chromium, Firefox and WebKit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from support import engines, samples
from support.chaos import RunningProxy, Weather, chaos
from support.engines import Window
from support.machines import OneMachine

pytestmark = pytest.mark.slow(reason="starts a browser of each engine")
_CAPTIONS = "caches.match('posts?limit=10&sort=top', { ignoreVary: true })"
_IS_STORED = f"""async () => {{
    const feed = await {_CAPTIONS};
    return feed !== undefined && (await feed.text()).includes("CAPTION");
}}"""
_STORE_BLOB = """async () => {
    const opening = indexedDB.open("a blob", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("images");
    await new Promise((done) => (opening.onsuccess = done));
    const change = opening.result.transaction("images", "readwrite");
    try {
        change.objectStore("images").put(new Blob(["x"]), 1);
        return await new Promise((done) => {
            change.oncomplete = () => done("stored");
            change.onabort = () => done(String(change.error?.name));
        });
    } catch (error) {
        return error.name;
    }
}"""


@pytest.fixture(scope="module", params=engines.ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def driver(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with engines.running(engine, tmp_path_factory.mktemp(engine)) as browser:
        browser.set_script_timeout(60)
        yield browser


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OneMachine]:
    service = OneMachine(tmp_path / "data")
    yield service
    service.kill()


@pytest.fixture
def proxy(machine: OneMachine) -> Iterator[RunningProxy]:
    with chaos(machine.url, Weather()) as running:
        yield running


@pytest.fixture
def window(driver: WebDriver, proxy: RunningProxy) -> Window:
    """The page of a service that this browser has not seen before: each has its own port."""
    opened = Window(driver, proxy.url)
    opened.open()
    return opened


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(samples.jpeg(640, 480))
    return path


def test_the_main_flow(
    window: Window, machine: OneMachine, proxy: RunningProxy, photo: Path
) -> None:
    """Sign in, post, comment, reload, offline, a cut, sign out."""
    window.sign_in("alice")
    window.post(photo, "First")
    window.wait_until_image_shown("First")
    window.comment("First", "Beautiful")
    window.reload()
    window.shows("alice", "Beautiful", "Comments (1)")
    window.wait(lambda: window.run(_IS_STORED.replace("CAPTION", "Beautiful")) is True)
    machine.server.kill()
    window.reload()
    window.shows("alice", "You are offline", "Beautiful")
    window.wait_until_image_shown("First")
    window.post(photo, "In the tunnel")
    window.shows("Offline: 1 waiting")
    window.reload()
    window.shows("Offline: 1 waiting", "In the tunnel")
    # For the connections that the page opens from now on.
    proxy.change_weather(Weather(cut_after_bytes=300_000, exactly=True))
    machine.start()
    window.article("In the tunnel")
    window.shows_not("waiting")
    large = photo.with_name("large.bmp")
    large.write_bytes(samples.bitmap(1000, 700))  # 2.1 MB
    window.post(large, "Through cuts")
    window.article("Through cuts")
    assert proxy.counts.cuts > 0
    proxy.change_weather(Weather())
    machine.server.kill()
    window.post(photo, "Not for bob")
    window.shows("Offline: 1 waiting")
    window.sign_out(waiting=True)
    window.shows_not("Not for bob", "waiting")
    window.reload()
    window.shows_not("Not for bob", "waiting", "Sign out")
    machine.start()
    window.sign_in("bob")
    window.post(photo, "From bob")
    window.article("From bob")
    window.shows_not("Not for bob")
    window.sign_out()
    window.sign_in("alice")
    window.article("Not for bob")
    assert machine.captions("alice") == ["First", "In the tunnel", "Not for bob", "Through cuts"]
    assert machine.captions("bob") == ["From bob"]
    assert machine.comments("First") == ["Beautiful"]


def test_an_image_is_posted_where_the_browser_stores_no_blob(
    window: Window, engine: str, tmp_path: Path
) -> None:
    """A private window of WebKit, which its automation opens; others store it."""
    assert (window.run(_STORE_BLOB) == "stored") is (engine != "webkit")
    image = tmp_path / "image.bmp"
    image.write_bytes(samples.bitmap(1000, 900))  # 2.7 MB: three pieces
    window.sign_in("carol")
    window.post(image, "From a private window")
    window.wait_until_image_shown("From a private window")


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window(
    window: Window, engine: str, photo: Path, width: int
) -> None:
    """WebKit's MiniBrowser is at least 447 px wide; in the others only a popup has 360."""
    with window.of_width(width, popup=width < 500 and engine != "webkit"):
        window.sign_in("a-user-whose-name-has-no-end-in-sight")
        window.post(photo, "Wide")
        overflow = "return document.documentElement.scrollWidth - innerWidth"
        window.article("Wide")
        assert window.driver.execute_script(overflow) <= 0
        window.click("Comments (0)", window.article("Wide"))
        assert window.driver.execute_script(overflow) <= 0
