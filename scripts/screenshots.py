"""Make the screenshots of docs/gallery.md: `make screenshots`.

Each view at 360, 768 and 1440 px, light and dark, from a server of its own with the sample images.
Needs chromium. Look at each screenshot and fix faults of the gallery.
"""

import io
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, expect

import sample
from support import browsers, samples
from support.api import LOCAL, Api
from support.browsers import Gallery
from support.servers import Server, local_server

SIZES = ((360, 740), (768, 1024), (1440, 900))
SHOWN_HEIGHT, GAP, QUALITY = 620, 12, 72
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def feed(_: Gallery, _server: Server) -> None:
    """Show the feed as it opens."""


def post(gallery: Gallery, _server: Server) -> None:
    """Open one post."""
    gallery.comments_of("The desert")
    expect(gallery.dialog().get_by_role("listitem").first).to_be_visible()


def composer(gallery: Gallery, _server: Server) -> None:
    """Choose an image, and a file that is not an image."""
    image = samples.encoded(sample.landscape(sample.SCENES["The desert"], random.Random(2)))
    dialog = gallery.choose(("IMG_0412.jpg", image), ("holiday notes.txt", b"no image"))
    dialog.get_by_role("textbox", name="Caption").first.fill("Evening, after the storm")


def queue(gallery: Gallery, server: Server) -> None:
    """Post while the server is offline."""
    server.kill()
    gallery.post(
        "Snow on the pass",
        "A very long caption that goes on and on, to see that it ends",
        size=(900, 600),
    )
    expect(gallery.status).to_contain_text("Offline: 2 waiting")


def error(gallery: Gallery, server: Server) -> None:
    """Post a damaged image, and save an edit that conflicts with another one."""
    gallery.button("Edit", within=gallery.article("At the lake")).click()
    with Api(server.url, LOCAL) as elsewhere:
        posts = elsewhere.feed(limit=100)["posts"]
        (lake,) = [post for post in posts if post["caption"] == "At the lake"]
        changed = {"caption": "At the lake, in the evening"}
        elsewhere.send("PATCH", f"/posts/{lake['id']}", "alice", json=changed)
    gallery.dialog("Edit post").get_by_role("textbox", name="Caption").fill("At the lake, at dusk")
    gallery.button("Save").click()
    dialog = gallery.choose(("cut short.jpg", samples.jpeg(900, 600)[:2000]))
    gallery.button("Post", within=dialog).click()
    expect(gallery.uploads).to_contain_text("Failed")


VIEWS: dict[str, Callable[[Gallery, Server], None]] = {
    view.__name__: view for view in (feed, post, composer, queue, error)
}


def shot(browser: Browser, view: str, size: tuple[int, int], scheme: Scheme) -> Image.Image:
    """Take a screenshot of one view in one window. It has a server of its own, since some views end
    theirs."""
    with tempfile.TemporaryDirectory() as folder, local_server(Path(folder)) as server:
        sample.main(server.url)
        viewport = {"width": size[0], "height": size[1]}
        with browser.new_context(viewport=viewport, color_scheme=scheme) as context:  # type: ignore[arg-type]
            gallery = Gallery(context.new_page(), server.url)
            gallery.open()
            gallery.sign_in("alice")
            gallery.page.wait_for_load_state("networkidle")
            VIEWS[view](gallery, server)
            gallery.page.wait_for_timeout(700)  # images fade in, and the dialog's are loaded
            return Image.open(io.BytesIO(gallery.page.screenshot()))


def side_by_side(shots: list[Image.Image]) -> Image.Image:
    """Put the screenshots side by side, scaled to one height."""
    scaled = [
        image.resize((image.width * SHOWN_HEIGHT // image.height, SHOWN_HEIGHT)) for image in shots
    ]
    width = sum(image.width for image in scaled) + GAP * (len(scaled) - 1)
    sheet = Image.new("RGB", (width, SHOWN_HEIGHT), "#8a8a8a")
    left = 0
    for image in scaled:
        sheet.paste(image, (left, 0))
        left += image.width + GAP
    return sheet


def main(folder: Path, views: list[str]) -> None:
    """Write a sheet for each view and scheme."""
    folder.mkdir(parents=True, exist_ok=True)
    with browsers.playwright() as running:
        browser = running.chromium.launch(
            executable_path=browsers.CHROMIUM, args=browsers.ARGUMENTS
        )
        for view in views or list(VIEWS):
            for scheme in SCHEMES:
                shots = [shot(browser, view, size, scheme) for size in SIZES]
                side_by_side(shots).save(folder / f"{view}-{scheme}.webp", quality=QUALITY)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
