"""Looking at the gallery without being anybody."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Route, expect

from aws_local.ports import free_port
from support import browsers, samples
from support.api import LOCAL, Api, someone
from support.browsers import Gallery, needs_axe
from support.servers import Server, local_server

OpenGallery = Callable[..., Gallery]
# The service worker is registered only after `releaseWorker()`.
_HOLD_WORKER = """
    const register = navigator.serviceWorker.register.bind(navigator.serviceWorker);
    const release = new Promise((resolve) => { window.releaseWorker = resolve; });
    navigator.serviceWorker.register = (...all) => release.then(() => register(...all));
"""


class _Requests:
    """Requests that the test lets go on. Playwright takes no built-in function for a handler."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def hold(self, route: Route) -> None:
        self.routes.append(route)


@pytest.fixture(scope="module", autouse=True)
def post_ids(server: Server) -> list[str]:
    """14 posts: more than a first page."""
    with Api(server.url, LOCAL) as api:
        user = someone("painter")
        return [
            api.finished(
                user, samples.jpeg(900, 600), caption=f"Number {number}", alt=f"A {number}"
            )["id"]
            for number in range(14)
        ]


def test_a_post_is_an_article_with_its_image_and_its_comments(
    open_gallery: OpenGallery, server: Server, api: Api, post_ids: list[str]
) -> None:
    api.comment(post_ids[3], "bob", "<b>Bold & brave</b>")
    gallery = open_gallery(server.url)
    article = gallery.article("Number 3")
    image = article.get_by_role("img", name="A 3")
    expect(image).to_have_attribute("src", re.compile(rf"/images/{post_ids[3]}/600\.jpg$"))
    expect(image).to_have_attribute("srcset", re.compile(r"600\.jpg 600w.*"))
    expect(article).to_contain_text("<b>Bold & brave</b>")
    expect(gallery.button("Comments (1)", within=article)).to_be_visible()
    expect(gallery.articles.first).to_have_accessible_name("Number 3")


def test_a_post_without_a_caption_is_named_by_its_creator(
    open_gallery: OpenGallery, server: Server, api: Api
) -> None:
    user = someone("silent")
    api.finished(user)
    gallery = open_gallery(server.url)
    gallery.sort_by("New")
    expect(gallery.article(f"Image by {user}")).to_be_visible()


def test_the_walk_shows_each_post_once_and_ends(open_gallery: OpenGallery, server: Server) -> None:
    gallery = open_gallery(server.url)
    sort = gallery.page.get_by_role("radiogroup", name="Sort")
    expect(sort.get_by_role("radio", name="Top")).to_be_checked()
    gallery.sort_by("New")
    expect(gallery.article("Number 13")).to_be_visible()
    gallery.page.keyboard.press("End")
    expect(gallery.article("Number 0")).to_be_attached()
    for number in range(14):
        expect(gallery.article(f"Number {number}")).to_have_count(1)
    expect(gallery.page.get_by_text("There are no more images.")).to_be_attached()


def test_show_more_is_a_button_too(
    open_gallery: OpenGallery, server: Server, context: BrowserContext
) -> None:
    context.add_init_script("window.IntersectionObserver = class { observe() {} disconnect() {} }")
    gallery = open_gallery(server.url)
    expect(gallery.articles).to_have_count(10)
    gallery.button("Show more").click()
    expect(gallery.article("Number 0")).to_be_attached()


def test_a_post_opens_by_its_button_and_gives_the_focus_back(
    open_gallery: OpenGallery, server: Server
) -> None:
    gallery = open_gallery(server.url)
    dialog = gallery.comments_of("Number 12")
    expect(dialog.get_by_role("img", name="A 12")).to_have_attribute("src", re.compile("1600"))
    expect(dialog.get_by_role("list", name="Comments")).to_be_attached()
    expect(gallery.page).to_have_url(re.compile("#post/"))
    gallery.close_dialog()
    comments = gallery.button("Comments (0)", within=gallery.article("Number 12"))
    expect(comments).to_be_focused()


def test_a_link_opens_a_post_that_is_not_in_the_feed_yet_and_arrows_lead_to_its_neighbours(
    open_gallery: OpenGallery, server: Server, post_ids: list[str]
) -> None:
    gallery = open_gallery(server.url, f"/#post/{post_ids[0]}")
    expect(gallery.dialog("Number 0")).to_be_visible()
    gallery.open(f"/?#post/{post_ids[12]}")
    expect(gallery.dialog("Number 12")).to_be_visible()
    expect(gallery.button("Next image")).to_be_visible()
    gallery.page.keyboard.press("ArrowRight")
    expect(gallery.dialog("Number 11")).to_be_visible()
    gallery.button("Previous image").click()
    expect(gallery.dialog("Number 12")).to_be_visible()
    gallery.page.go_back()


def test_a_double_tap_magnifies_the_image(open_gallery: OpenGallery, server: Server) -> None:
    gallery = open_gallery(server.url)
    dialog = gallery.comments_of("Number 12")
    image = dialog.get_by_role("img", name="A 12")
    image.dblclick(force=True)
    expect(image).to_have_attribute("style", re.compile(r"scale\(2\.5\)"))
    image.dblclick(force=True)
    expect(image).to_have_attribute("style", re.compile(r"scale\(1\)"))


def test_what_was_seen_last_is_there_offline_and_goes_on_by_itself(
    tmp_path: Path, open_gallery: OpenGallery
) -> None:
    """After a first visit already, and though nobody is signed in."""
    port = free_port()
    with local_server(tmp_path, "--port", str(port)) as server:
        with Api(server.url, LOCAL) as api:
            api.finished("alice", samples.jpeg(700, 700), caption="Seen last")
        gallery = open_gallery(server.url)
        gallery.wait_until_kept("Seen last")
    gallery.page.goto(gallery.url)
    gallery.wait_until_shown("Seen last")
    expect(gallery.status).to_contain_text("offline")
    gallery.button("Sign in").click()
    expect(gallery.dialog("Sign in")).to_contain_text("The service cannot be reached")
    with local_server(tmp_path, "--port", str(port)):
        expect(gallery.dialog("Sign in").get_by_role("textbox", name="Name")).to_be_visible()
        gallery.close_dialog()
        expect(gallery.status).to_be_empty()


def test_an_image_that_was_on_its_way_when_the_worker_came_is_there_offline(
    tmp_path: Path, context: BrowserContext
) -> None:
    """Its request began before there was a service worker, and its response comes after."""
    context.add_init_script(_HOLD_WORKER)
    with local_server(tmp_path) as server:
        with Api(server.url, LOCAL) as api:
            api.finished("alice", samples.jpeg(700, 700), caption="Slow image")
        gallery = Gallery(context.new_page(), server.url)
        page = gallery.page
        feed, image = _Requests(), _Requests()
        page.route("**/posts?*", feed.hold, times=1)
        page.route("**/images/*/600.jpg", image.hold, times=1)
        page.goto(server.url)
        gallery.wait_for(lambda: feed.routes)
        feed.routes[0].continue_()
        gallery.wait_for(lambda: image.routes)
        page.evaluate("() => window.releaseWorker()")
        page.wait_for_function("() => navigator.serviceWorker.controller !== null")
        image.routes[0].continue_()
        gallery.wait_until_kept("Slow image")


def test_images_far_away_are_let_go_and_come_back(
    open_gallery: OpenGallery, server: Server
) -> None:
    gallery = open_gallery(server.url)
    gallery.page.set_viewport_size({"width": 360, "height": 600})
    gallery.sort_by("New")
    first = gallery.article("Number 13").get_by_role("img", name="A 13")
    gallery.wait_until_shown("Number 13")
    gallery.page.keyboard.press("End")
    gallery.article("Number 0").scroll_into_view_if_needed()
    expect(first).not_to_have_attribute("src", re.compile("600"))
    first.scroll_into_view_if_needed()
    gallery.wait_until_shown("Number 13")


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_is_wider_than_the_window(browser: Browser, server: Server, width: int) -> None:
    with browser.new_context(viewport={"width": width, "height": 800}) as context:
        gallery = Gallery(context.new_page(), server.url)
        gallery.open()
        overflow = "document.documentElement.scrollWidth - innerWidth"
        assert gallery.page.evaluate(overflow) <= 0
        gallery.page.evaluate("document.dir = 'rtl'")
        assert gallery.page.evaluate(overflow) <= 0
        gallery.comments_of("Number 12")
        assert gallery.page.evaluate(overflow) <= 0


def test_the_page_speaks_german_to_who_does(browser: Browser, server: Server) -> None:
    with browser.new_context(locale="de-AT") as context:
        page = context.new_page()
        page.goto(server.url)
        expect(page.get_by_role("button", name="Neuer Beitrag")).to_be_visible()
        assert page.evaluate("document.documentElement.lang") == "de"


AUDIT = (
    "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
)


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    browser: Browser, server: Server, scheme: Literal["light", "dark"]
) -> None:
    # Axe is put into the page, whose policy takes no script but its own.
    with browser.new_context(
        color_scheme=scheme, reduced_motion="reduce", bypass_csp=True
    ) as context:
        gallery = Gallery(context.new_page(), server.url)
        gallery.open()
        gallery.page.add_script_tag(path=browsers.AXE)

        def audit() -> None:
            violations = gallery.page.evaluate(AUDIT)["violations"]
            assert [
                (violation["id"], violation["nodes"][0]["html"]) for violation in violations
            ] == []

        audit()
        gallery.comments_of("Number 12")
        audit()
        gallery.close_dialog()
        gallery.button("Sign in").click()
        audit()
        gallery.page.keyboard.press("Escape")
        gallery.sign_in("carol")
        gallery.choose(("one.jpg", samples.jpeg()), ("two.txt", b"no image"))
        audit()
        gallery.close_dialog()
        context.set_offline(offline=True)
        gallery.post("Waits")
        expect(gallery.uploads).to_be_visible()
        audit()
