"""Debian's Chromium under Playwright, and the gallery in it, in the words of the design (section
11)."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Playwright, expect, sync_playwright

from support import samples
from support.waiting import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: make web")
# In containers the browser's own sandbox has no user namespaces.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
# What a busy machine may need; nothing waits so long where it works.
PATIENCE_MS = 60_000
# Of an entry whose user has reached the limit of one write a minute. The service counts in a
# sliding window, so the wait may be two minutes.
WAIT_FOR_LIMIT = re.compile(r"Trying again in (\d+ s|[23] min)\. You have reached a limit")

_IS_KEPT = """async (captions) => {
    const feed = await caches.match("posts?limit=10&sort=top", { ignoreVary: true });
    const names = feed ? (await feed.json()).posts.map((post) => post.caption) : [];
    const images = await (await caches.open("images 1")).keys();
    const missed = captions.filter((one) => !names.includes(one));
    return missed.length === 0 && images.length >= captions.length;
}"""


@contextmanager
def playwright() -> Iterator[Playwright]:
    """Playwright with our patience."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as running:
        yield running


def persistent(running: Playwright, folder: Path, **options: Any) -> BrowserContext:
    """A browser whose profile stays in `folder`, as a person's does."""
    context = running.chromium.launch_persistent_context(
        folder, executable_path=CHROMIUM, args=ARGUMENTS, timeout=2 * PATIENCE_MS, **options
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


def kill(folder: Path) -> None:
    """`kill -9` of the browser that has its profile in `folder`, with all its processes."""
    ours = [
        process
        for process in psutil.Process(os.getpid()).children(recursive=True)
        if str(folder) in " ".join(_command_line(process))
    ]
    families = [child for process in ours for child in process.children(recursive=True)]
    for process in {*ours, *families}:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs([*ours, *families], timeout=60)
    # What the killed one would have taken away itself; without, the next start thinks it runs.
    for lock in folder.glob("Singleton*"):
        lock.unlink(missing_ok=True)


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


class Gallery:
    """The page, as its user sees it. `faults` are the errors on its console without those of the
    network: the browser itself logs a request that failed or was refused."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))

    def _note(self, kind: str, text: str) -> None:
        by_network = re.search(r"Failed to load resource|net::ERR_|status of \d\d\d", text)
        if kind in ("error", "warning") and not by_network:
            self.faults.append(text)

    def open(self, path: str = "") -> None:
        self.page.goto(self.url + path)
        expect(self.button("New post")).to_be_visible()

    def button(self, name: str, *, within: Locator | None = None) -> Locator:
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def dialog(self, name: str | re.Pattern[str] | None = None) -> Locator:
        named = {} if name is None else {"name": name}
        return self.page.get_by_role("dialog", **named)  # type: ignore[arg-type]

    @property
    def articles(self) -> Locator:
        return self.page.get_by_role("article")

    def article(self, caption: str) -> Locator:
        return self.page.get_by_role("article", name=caption, exact=True)

    @property
    def status(self) -> Locator:
        return self.page.locator("#app > [role=status]")

    @property
    def uploads(self) -> Locator:
        return self.page.get_by_role("region", name="Uploads")

    def sort_by(self, name: str) -> None:
        """Until the new walk has begun: till then the former one is shown."""
        with self.page.expect_response(re.compile(rf"(posts|me/feed)\?.*sort={name.lower()}")):
            self.page.get_by_role("radio", name=name).check(force=True)
        expect(self.page.locator(".feed")).to_have_attribute("aria-busy", "false")

    def sign_in(self, credential: str, field: str = "Name") -> None:
        self.button("Sign in").click()
        self.page.get_by_role("textbox", name=field).fill(credential)
        self.page.keyboard.press("Enter")
        # On a narrow window it is in the menu, which is closed.
        sign_out = self.page.get_by_role("button", name="Sign out", exact=True, include_hidden=True)
        expect(sign_out).to_have_count(1)

    def choose_in_menu(self, name: str | re.Pattern[str]) -> None:
        """Press a button of the session, which a narrow window has in its menu."""
        expect(self.page.locator("#menu")).to_have_count(1)
        menu = self.button("Menu")
        if menu.is_visible():
            menu.click()
        self.page.locator("#menu").get_by_role("button", name=name).click()

    def choose(self, *images: tuple[str, bytes]) -> Locator:
        """The composer with these files (names and contents) in it."""
        self.button("New post").click()
        dialog = self.dialog("New post")
        files = [
            {"name": name, "mimeType": "image/jpeg", "buffer": content} for name, content in images
        ]
        dialog.get_by_label("Images").set_input_files(files)  # type: ignore[arg-type]
        expect(dialog.get_by_role("group")).to_have_count(len(images))
        return dialog

    def post(self, *captions: str, size: tuple[int, int] = (320, 240)) -> None:
        """One image for each caption."""
        dialog = self.choose(*((f"{text}.jpg", samples.jpeg(*size)) for text in captions))
        fields = dialog.get_by_role("textbox", name="Caption")
        for place, text in enumerate(captions):
            fields.nth(place).fill(text)
        self.button("Post", within=dialog).click()
        expect(dialog).to_be_hidden()

    def comments_of(self, caption: str) -> Locator:
        """The dialog of a post, opened by its button."""
        self.article(caption).get_by_role("button", name=re.compile(r"^Comments \(\d+\)$")).click()
        return self.dialog(caption)

    def comment(self, dialog: Locator, text: str) -> None:
        dialog.get_by_role("textbox", name="Comment", exact=True).fill(text)
        self.button("Send", within=dialog).click()

    def close_dialog(self) -> None:
        self.page.keyboard.press("Escape")
        expect(self.dialog()).to_have_count(0)

    def wait_until_kept(self, *captions: str) -> None:
        """By the service worker, for when there is no network: the feed with these posts, and as
        many images. Asked here again and again: `wait_for_function` takes a promise for true."""
        self.wait_for(lambda: self.page.evaluate(_IS_KEPT, list(captions)))

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds, while the page's events go on."""
        wait_until(
            condition,
            seconds=PATIENCE_MS / 1000,
            every=0.05,
            sleep=lambda seconds: self.page.wait_for_timeout(seconds * 1000),
        )

    def is_kept(self) -> bool:
        """True if the page now gets the service worker's copy of the feed, marked as such. It is
        then neither the service's own answer nor one of the browser's cache."""
        script = "async () => (await fetch('posts?limit=10&sort=top')).headers.has('x-kept')"
        return bool(self.page.evaluate(script))

    def wait_until_sent(self, percent: int) -> None:
        """So much at least of the one upload, whose end is still away. The page itself looks, at
        each of its frames: asked from here, once a second, a quick upload may have ended."""
        expect(self.uploads.get_by_role("progressbar")).to_have_count(1)
        self.page.wait_for_function(
            """(percent) => {
                const bar = document.querySelector("[role=progressbar]");
                return Number(bar?.getAttribute("aria-valuenow")) >= percent;
            }""",
            arg=percent,
        )

    def wait_until_shown(self, caption: str) -> None:
        """The image itself, not what stands for it until it is there."""
        image = self.article(caption).get_by_role("img").element_handle()
        self.page.wait_for_function("(image) => image.naturalWidth > 0", arg=image)
