"""The header and the composer on a phone, and the focus after sign-in."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from support import samples
from support.browsers import PATIENCE_MS, Gallery
from support.servers import Server

OpenGallery = Callable[..., Gallery]


@pytest.fixture(params=["en", "de"])
def phone(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Gallery]:
    """A window of 360 px, in each language."""
    viewport = {"width": 360, "height": 640}
    with browser.new_context(viewport=viewport, locale=request.param) as context:  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        gallery = Gallery(context.new_page(), server.url)
        gallery.page.goto(server.url)
        yield gallery
        assert gallery.faults == []


def _assert_one_row(gallery: Gallery) -> None:
    bar = gallery.page.get_by_role("banner").bounding_box()
    assert bar is not None
    assert bar["height"] <= 66
    last = gallery.page.get_by_role("banner").get_by_role("button").last.bounding_box()
    assert last is not None
    assert last["x"] + last["width"] <= 360 - 16


def test_the_header_of_a_phone_is_one_row(phone: Gallery) -> None:
    page = phone.page
    expect(page.get_by_role("radio")).to_have_count(2)
    _assert_one_row(phone)
    page.get_by_role("banner").get_by_role("button").nth(1).click()
    page.get_by_role("dialog").get_by_role("textbox").fill("a-user-whose-name-has-no-end-in-sight")
    page.keyboard.press("Enter")
    menu = page.get_by_role("banner").locator("[aria-controls=menu]")
    expect(menu).to_be_visible()
    _assert_one_row(phone)
    menu.click()
    expect(page.locator("#menu")).to_contain_text("a-user-whose-name-has-no-end-in-sight")
    _assert_one_row(phone)
    page.keyboard.press("Escape")
    expect(page.locator("#menu")).to_be_hidden()
    expect(menu).to_be_focused()


def test_the_caption_is_in_view_once_an_image_is_chosen(browser: Browser, server: Server) -> None:
    viewport = {"width": 360, "height": 640}
    with browser.new_context(viewport=viewport) as context:  # type: ignore[arg-type]
        gallery = Gallery(context.new_page(), server.url)
        gallery.open()
        gallery.sign_in("alice")
        dialog = gallery.choose(("portrait.jpg", samples.jpeg(600, 900)))
        expect(dialog.get_by_role("textbox", name="Caption")).to_be_in_viewport(ratio=1)
        expect(gallery.button("Post", within=dialog)).to_be_in_viewport(ratio=1)


def test_the_file_button_is_an_input_that_the_keyboard_reaches(
    open_gallery: OpenGallery, server: Server
) -> None:
    gallery = open_gallery(server.url)
    gallery.sign_in("alice")
    gallery.button("New post").click()
    dialog = gallery.dialog("New post")
    expect(dialog.get_by_label("Images", exact=True)).to_have_attribute("type", "file")
    gallery.page.keyboard.press("Tab")
    expect(dialog.get_by_label("Images", exact=True)).to_be_focused()
    with gallery.page.expect_file_chooser() as chooser:
        gallery.page.keyboard.press("Space")
    chooser.value.set_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": samples.jpeg()})
    expect(dialog.get_by_role("group", name="a.jpg")).to_be_visible()
    with gallery.page.expect_file_chooser():
        dialog.get_by_text("Add images").click()


def test_the_focus_ring_marks_no_button_after_sign_in(
    open_gallery: OpenGallery, server: Server
) -> None:
    gallery = open_gallery(server.url)
    gallery.sign_in("alice")
    expect(gallery.dialog()).to_have_count(0)
    main = gallery.page.locator("main")
    expect(main).to_be_focused()
    expect(main).to_have_css("outline-style", "none")
    expect(gallery.button("Sign out")).not_to_be_focused()
