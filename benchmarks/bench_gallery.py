"""The gallery in Chromium: its first view over a slow phone network, a long feed scrolled through,
and what an upload costs through cuts. The goals are those of the design, section 11.

The network is Chromium's own (CDP, Network.emulateNetworkConditions): 1.6 Mbit/s down, 0.75 up,
150 ms a round trip; the window a phone's, 360 by 740 at 2 device pixels.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import servers
from data import entries, write_ours
from image_poster.adapters.files.schema import Layout
from image_poster.client import ImagePosterClient
from report import Found, Line, Skipped
from sizes import GalleryScale, Scale
from support import browsers, rendered, samples
from support.browsers import Gallery
from support.chaos import Weather, chaos

LINES = 6
MAX_FIRST_IMAGE_MS, MAX_WEIGHT_BYTES, MAX_SHIFT = 2500, 60_000, 0.02
MAX_MEMORY_BYTES, MAX_FRAME_MS, PIECE_BYTES = 150e6, 100, 512 * 1024
SLOW_PHONE = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
# A ratio of nothing would count as not measured.
_LEAST = 1e-4
_OBSERVE = """
window.shift = 0; window.images = [];
new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
  if (!entry.hadRecentInput) window.shift += entry.value;
})).observe({ type: "layout-shift", buffered: true });
new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
  if (entry.element?.matches("article img")) window.images.push(entry.renderTime);
})).observe({ type: "largest-contentful-paint", buffered: true });
"""
_SCROLL = """async (until) => {
  let longest = 0;
  let last = performance.now();
  const shown = () => document.querySelectorAll("article").length;
  const left = () => document.body.scrollHeight - scrollY - innerHeight;
  while (shown() < until || left() > 2) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    scrollBy(0, 240);
  }
  return longest;
}"""


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """Six lines."""
    if browsers.CHROMIUM is None:
        yield Skipped(LINES, "there is no chromium here")
        return
    with browsers.playwright() as running:
        browser = running.chromium.launch(
            executable_path=browsers.CHROMIUM, args=browsers.ARGUMENTS
        )
        fill(folder / "data", scale.gallery.posts)
        with servers.ours(folder / "data") as (url, _):
            yield from _first_view(browser, url)
            yield from _scrolled(browser, url, scale.gallery)
        yield _through_cuts(browser, folder, scale.gallery)
        browser.close()


def fill(data: Path, posts: int) -> None:
    """So many ready posts that all have the renditions of one photograph: grainy, as real ones
    are."""
    ids = write_ours(data, entries(posts, posts * 3))
    image = rendered.render(samples.encoded(_photograph(), quality=90))
    layout = Layout(data)
    for post_id in ids:
        for name, content in (("600", image.small_bytes), ("1600", image.large_bytes)):
            path = layout.rendition(post_id, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)


def _photograph() -> Image.Image:
    """Colours that run into each other, with grain."""
    chance = random.Random(1)
    coarse = Image.new("RGB", (24, 16))
    coarse.putdata([tuple(chance.randrange(256) for _ in range(3)) for _ in range(24 * 16)])
    grain = Image.effect_noise((1800, 1200), 40).convert("RGB")
    return Image.blend(coarse.resize((1800, 1200), Image.Resampling.BICUBIC), grain, 0.15)


@contextmanager
def _phone(browser: Browser) -> Iterator[Page]:
    viewport: Any = {"width": 360, "height": 740}
    with browser.new_context(viewport=viewport, device_scale_factor=2) as context:
        context.set_default_timeout(120_000)
        yield context.new_page()


def _first_view(browser: Browser, url: str) -> Iterator[Line]:
    weights: list[int] = []
    with _phone(browser) as page:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", SLOW_PHONE)
        named: dict[str, str] = {}
        session.on(
            "Network.responseReceived",
            lambda event: named.update({event["requestId"]: event["type"]}),
        )
        session.on(
            "Network.loadingFinished",
            lambda done: (
                weights.append(int(done["encodedDataLength"]))
                if named.get(done["requestId"]) in ("Script", "Stylesheet")
                else None
            ),
        )
        page.add_init_script(_OBSERVE)
        page.goto(url)
        page.wait_for_function("() => window.images.length > 0")
        page.wait_for_load_state("networkidle")
        painted, shift = page.evaluate("[window.images[0], window.shift]")
    total = sum(weights)
    yield _line("first image painted, slow phone / 2.5 s", painted, MAX_FIRST_IMAGE_MS, "ms")
    yield _line("script and style of the first view / 60 kB", total, MAX_WEIGHT_BYTES, "bytes")
    yield _line("cumulative layout shift / 0.02", shift, MAX_SHIFT, "")


def _scrolled(browser: Browser, url: str, scale: GalleryScale) -> Iterator[Line]:
    """Memory is what the page itself holds (the heap of its script, after a collection). Its
    process has more, for the record: up to 512 MB of decoded images are Chromium's to keep, until
    memory is short."""
    with _phone(browser) as page:
        page.goto(url)
        page.wait_for_selector("article")
        page.wait_for_load_state("networkidle")
        longest = page.evaluate(_SCROLL, scale.posts)
        session = page.context.new_cdp_session(page)
        session.send("HeapProfiler.collectGarbage")
        memory = session.send("Runtime.getHeapUsage")["usedSize"]
        process = _renderer_bytes() / 1e6
    label = f"{scale.posts} posts scrolled through"
    detail = f"{memory / 1e6:.0f} MB; the process {process:.0f} MB, caches of images included"
    yield Line(f"{label}: memory / 150 MB", memory / MAX_MEMORY_BYTES, 1, "<=", detail)
    yield _line(f"{label}: longest frame / 100 ms", longest, MAX_FRAME_MS, "ms")


def _renderer_bytes() -> float:
    """The memory of the browser's largest page process that no other process shares (USS)."""
    ours = psutil.Process(os.getpid()).children(recursive=True)
    pages = [process for process in ours if "--type=renderer" in " ".join(process.cmdline())]
    return float(max(page.memory_full_info().uss for page in pages))


def _through_cuts(browser: Browser, folder: Path, scale: GalleryScale) -> Line:
    """Bytes beyond the image's own for each cut: the page's and the Python client's, in one
    weather."""
    image = folder / "image.bmp"
    image.write_bytes(samples.bitmap(scale.side, scale.side))
    weather = Weather(seed=1, cut_after_bytes=scale.cut)
    with servers.ours(folder / "uploads") as (url, _):
        with chaos(url, weather) as proxy, ImagePosterClient(proxy.url, "python") as client:
            client.post(image)
            theirs = (proxy.counts.up - image.stat().st_size) / max(1, proxy.counts.cuts)
        with chaos(url, weather) as proxy, browser.new_context() as context:
            context.set_default_timeout(120_000)
            _post(Gallery(context.new_page(), proxy.url), image)
            cuts = max(1, proxy.counts.cuts)
            beyond = (proxy.counts.up - image.stat().st_size) / cuts
    ratio = max(_LEAST, (beyond - theirs) / PIECE_BYTES)
    detail = f"{beyond / 1000:.0f} / {theirs / 1000:.0f} kB a cut, {cuts} cuts"
    return Line("bytes a cut beyond the Python client's / a piece", ratio, 1, "<=", detail)


def _post(gallery: Gallery, image: Path) -> None:
    """An image, until it is in the feed."""
    gallery.open()
    gallery.sign_in("page")
    dialog = gallery.choose((image.name, image.read_bytes()))
    dialog.get_by_role("textbox", name="Caption").fill("Through cuts")
    gallery.button("Post", within=dialog).click()
    expect(gallery.article("Through cuts")).to_be_visible(timeout=300_000)


def _line(label: str, value: float, most: float, unit: str) -> Line:
    shown = f"{value:.3f}" if most < 1 else f"{value:,.0f} {unit}"
    return Line(label, max(_LEAST, value / most), 1, "<=", shown)
