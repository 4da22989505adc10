"""Make the screenshots of docs/gallery.md: `make screenshots`.

Each view at 360, 768 and 1440 px, light and dark, from a server of its own with the sample images.
Needs chromium. Look at each screenshot and fix faults of the gallery.
"""

import io
import random
import re
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
ADMIN = "admin"
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


def report(gallery: Gallery, _server: Server) -> None:
    """Report an image of another user."""
    gallery.button("Report", within=gallery.article("The desert")).click()
    dialog = gallery.dialog("Report")
    dialog.get_by_role("radio", name="Copyright").check()
    dialog.get_by_role("textbox", name="Details").fill("This is my photograph, from 2019.")


def moderation(gallery: Gallery, server: Server) -> None:
    """Hide an image by its key, so that the next entry is shown, with `Undo`."""
    with Api(server.url, LOCAL) as api:
        for caption, reason in (("Night train", "spam"), ("The desert", "copyright")):
            _report(api, caption, "erin", reason, "I have seen this before.")
            _report(api, caption, "frank", "other", "Please look at this.")
    gallery.page.reload()
    gallery.choose_in_menu("Moderation (2)")
    dialog = gallery.dialog(re.compile("Moderation"))
    expect(dialog).to_contain_text("Night train")
    gallery.page.keyboard.press("h")
    expect(dialog).to_contain_text("The desert")


def hidden(gallery: Gallery, server: Server) -> None:
    """Show a hidden image to its creator."""
    with Api(server.url, LOCAL) as api:
        _hide(api, "At the lake")
    gallery.page.reload()
    expect(gallery.page.get_by_role("region", name="Only you see these")).to_be_visible()


def account(gallery: Gallery, server: Server) -> None:
    """Open the account of a user with a decision, a report and a block."""
    with Api(server.url, LOCAL) as api:
        _hide(api, "At the lake")
        _report(api, "The desert", "alice", "copyright", "This is my photograph, from 2019.")
        api.send("PUT", "/me/blocks/mallory", "alice")
    gallery.page.reload()
    gallery.choose_in_menu("Account")
    expect(gallery.dialog("Account")).to_contain_text("Your image was hidden")
    expect(gallery.dialog("Account")).to_contain_text("Not decided yet")


def _post_id(api: Api, caption: str) -> str:
    return next(
        str(post["id"]) for post in api.feed(limit=100)["posts"] if post["caption"] == caption
    )


def _report(api: Api, caption: str, reporter: str, reason: str, text: str) -> None:
    order = {"post_id": _post_id(api, caption), "reason": reason, "text": text}
    api.send("POST", "/reports", reporter, json=order)


def _hide(api: Api, caption: str) -> None:
    order = {"post_id": _post_id(api, caption), "action": "hide", "reason": "copyright"}
    text = "Its photographer asked us to take it down."
    api.send("POST", "/moderation/decisions", ADMIN, json={**order, "text": text})


VIEWS: dict[str, Callable[[Gallery, Server], None]] = {
    view.__name__: view
    for view in (feed, post, composer, queue, error, report, moderation, hidden, account)
}


def shot(browser: Browser, view: str, size: tuple[int, int], scheme: Scheme) -> Image.Image:
    """Take a screenshot of one view in one window. It has a server of its own, since some views end
    theirs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        local_server(Path(folder), "--admins", ADMIN) as server,
    ):
        sample.main(server.url)
        viewport = {"width": size[0], "height": size[1]}
        with browser.new_context(viewport=viewport, color_scheme=scheme) as context:  # type: ignore[arg-type]
            gallery = Gallery(context.new_page(), server.url)
            gallery.open()
            gallery.sign_in(ADMIN if view == "moderation" else "alice")
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
