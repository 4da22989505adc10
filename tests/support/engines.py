"""The three browser engines as Debian packages them, under Selenium, and the gallery in them."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.file_detector import UselessFileDetector
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

from aws_local.ports import free_port
from support import browsers
from support.marionette import Firefox
from support.waiting import wait_until

ENGINES = ("chromium", "firefox", "webkit")
_MINI_BROWSER = "usr/lib/*/webkit2gtk-4.*/MiniBrowser"
_PATIENCE_SECONDS = browsers.PATIENCE_MS / 1000
_Result = TypeVar("_Result")


def _program(*names: str) -> str:
    """The path of the first of these programs that is installed; skip the test without any."""
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.skip(f"{names[0]} is not installed: make tools-debian")


@contextmanager
def _display() -> Iterator[str]:
    """A display of its own: WebKitGTK has no headless mode."""
    reader, writer = os.pipe()
    screen = ("-screen", "0", "1500x1200x24", "-nolisten", "tcp")
    command = [_program("Xvfb"), "-displayfd", str(writer), *screen]
    server = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        with os.fdopen(reader) as numbers:
            yield f":{numbers.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def running(engine: str, folder: Path) -> Iterator[WebDriver]:
    """A browser with nothing in it yet, its profile in `folder`. That of WebKit is ephemeral, as a
    private window is."""
    if engine == "webkit":
        with _display() as display, _webkit(display) as driver:
            yield driver
        return
    driver = _chromium() if engine == "chromium" else Firefox(_program("firefox-esr"), folder)
    try:
        yield driver
    finally:
        driver.quit()


def _chromium() -> WebDriver:
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser")
    for argument in ("--headless", *browsers.ARGUMENTS):
        options.add_argument(argument)
    service = webdriver.ChromeService(_program("chromedriver"), port=free_port())
    return webdriver.Chrome(options, service)


@contextmanager
def _webkit(display: str) -> Iterator[WebDriver]:
    program = _program("WebKitWebDriver")
    browser = next(Path("/").glob(_MINI_BROWSER), None)
    if browser is None:
        pytest.skip("MiniBrowser of WebKitGTK is not installed: make tools-debian")
    options = webdriver.WebKitGTKOptions()
    options.binary_location = str(browser)
    options.add_argument("--automation")
    # In containers its sandbox has no user namespaces.
    variables = {"DISPLAY": display, "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
    service = webdriver.WebKitGTKService(program, port=free_port(), env=os.environ | variables)
    service.start()
    try:
        connection = RemoteConnection(client_config=ClientConfig(service.service_url))
        driver = WebDriver(connection, options=options)
        driver.file_detector = UselessFileDetector()  # the driver opens files itself
        yield driver
        driver.quit()
    finally:
        service.stop()


class Window:
    """The gallery in one window of a browser, in the words of the design (section 11). Each method
    waits until the page shows its element."""

    def __init__(self, driver: WebDriver, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str = "/") -> None:
        """Load the page."""
        self.driver.get(self.url + path)
        self.button("New post")

    def reload(self) -> None:
        """Load the page again, as its user does: WebDriver's own command goes past the service
        worker in Firefox."""
        self.driver.execute_script("window.former = true; location.reload()")
        self.wait(lambda: self.driver.execute_script("return window.former !== true"))
        self.button("New post")

    @contextmanager
    def of_width(self, width: int, *, popup: bool) -> Iterator[None]:
        """The page in a window of that width in pixels, which may have to be a popup."""
        if not popup:
            self.driver.set_window_size(width, 800)
            yield
            return
        first_window = self.driver.current_window_handle
        features = f"popup,width={width},height=740"
        self.driver.execute_script("window.open(location.href, '', arguments[0])", features)
        new_windows = self.wait(lambda: set(self.driver.window_handles) - {first_window})
        self.driver.switch_to.window(new_windows.pop())
        try:
            self.button("New post")
            self.wait(lambda: self.driver.execute_script("return innerWidth") == width)
            yield
        finally:
            self.driver.close()
            self.driver.switch_to.window(first_window)

    def wait(self, look: Callable[[], _Result]) -> _Result:
        """Return the first result of `look` that is true."""
        errors: list[WebDriverException] = []

        def attempt() -> _Result | None:
            try:
                return look()
            except WebDriverException as exc:
                errors[:] = [exc]
                return None

        return wait_until(
            attempt,
            seconds=_PATIENCE_SECONDS,
            every=0.05,
            message=lambda: f"{self.text}, {errors}",
        )

    @property
    def text(self) -> str:
        """The text of the page, as it is displayed."""
        return str(self.driver.execute_script("return document.body.innerText"))

    def shows(self, *texts: str) -> None:
        """Wait until the page displays these."""
        self.wait(lambda: all(text in self.text for text in texts))

    def shows_not(self, *texts: str) -> None:
        """Wait until the page displays none of these."""
        self.wait(lambda: not any(text in self.text for text in texts))

    def find(self, path: str, within: WebElement | None = None) -> WebElement:
        """The last element of an XPath: that of the dialog on top."""
        return self.wait(lambda: (within or self.driver).find_elements(By.XPATH, path)[-1:])[0]

    def button(self, name: str, within: WebElement | None = None) -> WebElement:
        """A button by its name."""
        named = f"normalize-space()='{name}' or @aria-label='{name}'"
        return self.find(f".//button[{named}]", within)

    def click(self, name: str, within: WebElement | None = None) -> None:
        """Press a button."""
        self._do(lambda: self.button(name, within).click())

    def _do(self, act: Callable[[], object]) -> None:
        """As soon as the browser can do it: a dialog that has just opened may not be drawn yet."""

        def done() -> bool:
            act()
            return True

        self.wait(done)

    def article(self, caption: str) -> WebElement:
        """The post with that caption."""
        return self.find(f"//article[@aria-label='{caption}']")

    def fill(self, label: str, text: str) -> None:
        """Type into the field of that label."""
        name = self.find(f"//label[normalize-space()='{label}']").get_attribute("for")
        self._do(lambda: self.driver.find_element(By.ID, str(name)).send_keys(text))

    def sign_in(self, user: str) -> None:
        """Sign in by a name."""
        self.click("Sign in")
        self.fill("Name", user)
        self.click("Sign in", self.find("//dialog"))
        self.button("Sign out")

    def sign_out(self, *, waiting: bool = False) -> None:
        """Sign out, through the question about entries that wait."""
        if self.button("Menu").is_displayed():  # of a narrow window
            self.click("Menu")
        self.click("Sign out")
        if waiting:
            self.click("Sign out", self.find("//dialog[@role='alertdialog']"))
        self.button("Sign in")

    def post(self, image: Path, caption: str) -> None:
        """Post the image."""
        self.click("New post")
        self.find("//input[@type='file']").send_keys(str(image))
        self.fill("Caption", caption)
        self.click("Post")
        self.wait(lambda: not self.driver.find_elements(By.XPATH, "//dialog"))

    def comment(self, caption: str, text: str) -> None:
        """Comment on a post."""
        self.click("Comments (0)", self.article(caption))
        self.fill("Comment", text)
        self.click("Send")
        self.shows("Your comment is sent.")  # for 5 s
        self.shows(text)
        self.click("Close")

    def wait_until_image_shown(self, caption: str) -> None:
        """Wait until the browser has decoded the post's image."""
        image = self.find(f"//article[@aria-label='{caption}']//img")
        script = "return arguments[0].naturalWidth > 1"
        self.wait(lambda: bool(self.driver.execute_script(script, image)))

    def run(self, script: str) -> object:
        """The result of a promise in the page."""
        failed = "(error) => done(String(error))"
        wrapped = f"const done = arguments[0]; ({script})().then(done, {failed})"
        return self.driver.execute_async_script(wrapped)
