"""Whatever the network, the browser and the server do: everything is there once."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Playwright, expect

from support import browsers, samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.browsers import Gallery
from support.chaos import Weather, chaos
from support.machines import OneMachine
from support.servers import Server, local_server

# `make browser`: more of everything.
LONG = "BROWSER" in os.environ
OpenGallery = Callable[..., Gallery]
# An upload of some megabytes is under way for a quarter of a minute, until the weather changes.
CRAWLING = Weather(bytes_per_second=150_000)


def test_an_upload_goes_on_after_the_server_was_killed_in_the_middle_of_it(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    machine = OneMachine(tmp_path)
    try:
        with chaos(machine.url, CRAWLING) as proxy:
            gallery = open_gallery(proxy.url)
            gallery.sign_in("alice")
            dialog = gallery.choose(("large.bmp", samples.bitmap(1000, 900)))
            dialog.get_by_role("textbox", name="Caption").fill("Through it all")
            gallery.button("Post", within=dialog).click()
            gallery.wait_until_sent(20)
            machine.server.kill()
            expect(gallery.status).to_contain_text("Offline: 1 waiting")
            proxy.change_weather(Weather())
            machine.start()
            expect(gallery.article("Through it all")).to_be_visible()
        assert machine.captions("alice") == ["Through it all"]
    finally:
        machine.server.kill()


def test_connections_that_are_cut_and_answers_that_are_lost_double_nothing(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    weather = Weather(seed=3, cut_after_bytes=500_000, lost_answers=0.1)
    images, comments = (8, 10) if LONG else (1, 3)
    with local_server(tmp_path) as server:
        with Api(server.url, LOCAL_EDITION) as api:
            api.finished("bob", caption="Talk")
        with chaos(server.url, Weather()) as proxy:
            gallery = open_gallery(proxy.url)
            gallery.sign_in("alice")
            expect(gallery.article("Talk")).to_be_visible()
            # A page whose script does not arrive is for the person to load again.
            proxy.change_weather(weather)
            for number in range(images):
                dialog = gallery.choose((f"{number}.bmp", samples.bitmap(1000, 900)))
                dialog.get_by_role("textbox", name="Caption").fill(f"Number {number}")
                gallery.button("Post", within=dialog).click()
                expect(dialog).to_be_hidden()
            dialog = gallery.comments_of("Talk")
            for number in range(comments):
                gallery.comment(dialog, f"Comment {number}")
            gallery.close_dialog()
            for number in range(images):
                expect(gallery.article(f"Number {number}")).to_be_visible()
            expect(gallery.uploads).to_have_count(0)
            expect(gallery.status).not_to_contain_text("waiting")
            assert proxy.counts.cuts + proxy.counts.lost_answers > 0
        with Api(server.url, LOCAL_EDITION) as api:
            (talk,) = api.feed(creator="bob", comments=10)["posts"]
            contents = [comment["content"] for comment in talk["latest_comments"]]
            assert contents == [f"Comment {number}" for number in reversed(range(comments))]
            assert len(api.feed(creator="alice")["posts"]) == images


# The longest wait that the page displays, with the back-off at its longest each time.
_LONGEST_WAIT = """
    Math.random = () => 0.999;
    window.longest = 0;
    const look = () => {
        const shown = document.body?.innerText.matchAll(/Trying again in (\\d+) s/g) ?? [];
        for (const [, seconds] of shown) window.longest = Math.max(window.longest, seconds);
    };
    const all = {childList: true, subtree: true, characterData: true};
    new MutationObserver(look).observe(document, all);
"""


@pytest.mark.parametrize("cut_after", [1_000_000, 400_000])
def test_back_off_does_not_grow_on_a_link_that_is_cut_often_while_bytes_arrive(
    open_gallery: OpenGallery, context: BrowserContext, tmp_path: Path, cut_after: int
) -> None:
    """After each MB: in the second chunk of an attempt. After less: in its first one."""
    weather = Weather(cut_after_bytes=cut_after, exactly=True)
    context.add_init_script(_LONGEST_WAIT)
    with local_server(tmp_path) as server, chaos(server.url, weather) as proxy:
        gallery = open_gallery(proxy.url)
        gallery.sign_in("alice")
        for name in ("One", "Two"):
            dialog = gallery.choose((f"{name}.bmp", samples.bitmap(1000, 800)))
            dialog.get_by_role("textbox", name="Caption").fill(name)
            gallery.button("Post", within=dialog).click()
        for name in ("One", "Two"):
            expect(gallery.article(name)).to_be_visible()
        assert proxy.counts.cuts >= 2 * 2
        assert gallery.page.evaluate("window.longest") <= 1


def test_two_tabs_share_one_queue_and_the_second_goes_on_when_the_first_is_closed(
    open_gallery: OpenGallery, context: BrowserContext, tmp_path: Path
) -> None:
    machine = OneMachine(tmp_path)
    try:
        first, second = open_gallery(machine.url), open_gallery(machine.url)
        first.sign_in("alice")
        expect(second.button("Sign out")).to_be_visible()
        machine.server.kill()
        second.post("From the second tab")
        expect(first.uploads.get_by_role("listitem")).to_have_count(1)
        first.page.close()
        machine.start()
        expect(second.article("From the second tab")).to_be_visible()
        third = open_gallery(machine.url)
        expect(third.article("From the second tab")).to_be_visible()
        assert machine.captions("alice") == ["From the second tab"]
        assert len(context.pages) == 2
    finally:
        machine.server.kill()


def test_what_waits_belongs_to_who_made_it_and_signing_out_says_how_much_it_is(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    machine = OneMachine(tmp_path)
    try:
        gallery = open_gallery(machine.url)
        gallery.sign_in("alice")
        machine.server.kill()
        gallery.post("Alice's")
        expect(gallery.status).to_contain_text("Offline: 1 waiting")
        gallery.button("Sign out").click()
        dialog = gallery.page.get_by_role("alertdialog")
        expect(dialog).to_contain_text("1 entry of yours is not sent yet")
        gallery.button("Sign out", within=dialog).click()
        machine.start()
        gallery.sign_in("bob")
        gallery.post("Bob's")
        expect(gallery.article("Bob's")).to_be_visible()
        assert machine.captions("alice") == []
        gallery.button("Sign out").click()
        gallery.sign_in("alice")
        expect(gallery.article("Alice's")).to_be_visible()
        assert machine.captions("alice") == ["Alice's"]
    finally:
        machine.server.kill()


def test_a_pause_holds_and_what_is_removed_leaves_nothing_at_the_service(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    with (
        local_server(tmp_path) as server,
        chaos(server.url, CRAWLING) as proxy,
        Api(server.url, LOCAL_EDITION) as api,
    ):
        gallery = open_gallery(proxy.url)
        gallery.sign_in("alice")
        for name in ("kept", "regretted"):
            dialog = gallery.choose((f"{name}.bmp", samples.bitmap(800, 700)))
            dialog.get_by_role("textbox", name="Caption").fill(name)
            gallery.button("Post", within=dialog).click()
        sent_text, regretted = (
            gallery.uploads.get_by_role("listitem").filter(has_text=name)
            for name in ("kept", "regretted")
        )
        expect(sent_text).to_contain_text("Uploading")
        gallery.button("Pause", within=sent_text).click()
        expect(sent_text).to_contain_text("Paused")
        expect(regretted).to_contain_text(re.compile(r"Uploading, [1-9]"))
        gallery.button("Remove", within=regretted).click()
        expect(regretted).to_have_count(0)
        expect(sent_text).to_contain_text("Paused")
        proxy.change_weather(Weather())
        gallery.button("Resume", within=sent_text).click()
        expect(gallery.article("kept")).to_be_visible()
        assert [post["caption"] for post in api.feed(creator="alice")["posts"]] == ["kept"]
        assert not [
            path for path in tmp_path.rglob("*") if "incoming" in path.parts and path.is_file()
        ]


def test_an_edit_and_a_deletion_wait_too(open_gallery: OpenGallery, tmp_path: Path) -> None:
    machine = OneMachine(tmp_path)
    try:
        with Api(machine.url, LOCAL_EDITION) as api:
            api.finished("alice", caption="To be edited")
            api.finished("alice", caption="To be deleted")
        gallery = open_gallery(machine.url)
        gallery.sign_in("alice")
        machine.server.kill()
        gallery.button("Edit", within=gallery.article("To be edited")).click()
        gallery.dialog("Edit post").get_by_role("textbox", name="Caption").fill("Edited")
        gallery.button("Save").click()
        gallery.button("Delete", within=gallery.article("To be deleted")).click()
        gallery.button("Delete", within=gallery.page.get_by_role("alertdialog")).click()
        expect(gallery.status).to_contain_text("Offline: 2 waiting")
        gallery.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        gallery.page.reload()
        expect(gallery.status).to_contain_text("Offline: 2 waiting")
        machine.start()
        expect(gallery.status).not_to_contain_text("waiting")
        expect(gallery.article("To be deleted")).to_have_count(0)
        expect(gallery.article("Edited")).to_be_visible()
        assert machine.captions("alice") == ["Edited"]
    finally:
        machine.server.kill()


def test_a_browser_killed_in_the_middle_of_an_upload_goes_on_with_it(
    playwright: Playwright, tmp_path: Path
) -> None:
    profile = tmp_path / "profile"
    with local_server(tmp_path / "data") as server, chaos(server.url, CRAWLING) as proxy:
        try:
            gallery = Gallery(browsers.persistent(playwright, profile).pages[0], proxy.url)
            gallery.open()
            gallery.sign_in("alice")
            dialog = gallery.choose(("large.bmp", samples.bitmap(1000, 700)))
            dialog.get_by_role("textbox", name="Caption").fill("Once")
            gallery.button("Post", within=dialog).click()
            gallery.wait_until_sent(30)
            browsers.kill(profile)
            proxy.change_weather(Weather())
            gallery = Gallery(browsers.persistent(playwright, profile).pages[0], proxy.url)
            gallery.open()
            expect(gallery.article("Once")).to_be_visible()
            expect(gallery.uploads).to_have_count(0)
            with Api(server.url, LOCAL_EDITION) as api:
                assert [post["caption"] for post in api.feed()["posts"]] == ["Once"]
            # What had arrived before was not sent again.
            assert proxy.counts.up < 1.7 * len(samples.bitmap(1000, 700))
        finally:
            browsers.kill(profile)


# Chromium heeds no quota that a test sets (Storage.overrideQuotaForOrigin), so the device is one.
FULL = """() => {
    const put = IDBObjectStore.prototype.put;
    window.full = true;
    IDBObjectStore.prototype.put = function (...given) {
        if (window.full) throw new DOMException("full", "QuotaExceededError");
        return put.apply(this, given);
    };
}"""


def test_a_device_without_room_says_so_and_keeps_what_was_written(
    open_gallery: OpenGallery, server: Server
) -> None:
    gallery = open_gallery(server.url)
    gallery.sign_in("alice")
    dialog = gallery.choose(("large.jpg", samples.jpeg()))
    dialog.get_by_role("textbox", name="Caption").fill("No room")
    gallery.page.evaluate(FULL)
    gallery.button("Post", within=dialog).click()
    expect(dialog.get_by_role("alert")).to_contain_text("This device has too little free space")
    gallery.page.evaluate("() => { window.full = false; }")
    gallery.button("Post", within=dialog).click()
    expect(gallery.article("No room")).to_have_count(1)
    expect(gallery.uploads).to_have_count(0)


_REFUSES_IMAGES = """
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (value, ...given) {
        if (value instanceof Blob || value instanceof ArrayBuffer) {
            throw new DOMException("no binary data here", "DataCloneError");
        }
        return put.call(this, value, ...given);
    };
"""
_REFUSES_EVERYTHING = """
    indexedDB.open = () => { throw new DOMException("denied", "SecurityError"); };
"""


@pytest.mark.parametrize("refusal", [_REFUSES_IMAGES, _REFUSES_EVERYTHING])
def test_an_image_that_the_browser_refuses_to_store_is_sent_while_the_page_is_open(
    open_gallery: OpenGallery, context: BrowserContext, tmp_path: Path, refusal: str
) -> None:
    machine = OneMachine(tmp_path)
    context.add_init_script(refusal)
    try:
        # The second tab does not hold the lock of the queue on the device.
        for name, gallery in (
            ("One", open_gallery(machine.url)),
            ("Two", open_gallery(machine.url)),
        ):
            if refusal == _REFUSES_EVERYTHING or name == "One":
                gallery.sign_in("alice")
            machine.server.kill()
            gallery.post(name)
            expect(gallery.uploads).to_contain_text("Keep this page open until it is sent.")
            machine.start()
            expect(gallery.article(name)).to_be_visible()
            expect(gallery.uploads).to_have_count(0)
        assert machine.captions("alice") == ["One", "Two"]
    finally:
        machine.server.kill()
