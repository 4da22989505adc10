"""The moderation queue by the keyboard, and decisions as the creator sees them."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, expect

from support import browsers, samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.browsers import PATIENCE_MS, Gallery, needs_axe
from support.machines import OneMachine

OpenGallery = Callable[..., Gallery]
# `make browser` decides about 100 entries.
ENTRIES = 100 if "BROWSER" in os.environ else 6
# One that can be blocked: a plain one has no usable hash.
DETAILED = samples.encoded(samples.mosaic("detailed"))
AUDIT = (
    "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OneMachine]:
    service = OneMachine(tmp_path, "--admins", "admin,root")
    yield service
    service.kill()


@pytest.fixture
def api(machine: OneMachine) -> Iterator[Api]:
    with Api(machine.url, LOCAL_EDITION) as server_api:
        yield server_api


@pytest.fixture
def other_context(browser: Browser) -> Iterator[BrowserContext]:
    """The browser of a second person."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


def report(api: Api, post_id: str, reporter: str = "bob", reason: str = "spam") -> None:
    """Report a post by the API."""
    body = {"post_id": post_id, "reason": reason, "text": f"Says {reporter}"}
    assert api.send("POST", "/reports", reporter, json=body).status_code == 201


def log(api: Api) -> list[dict[str, Any]]:
    """The log of decisions, oldest first."""
    page = api.get("/moderation/decisions", "admin", params={"limit": 100}).json()
    return list(reversed(page["decisions"]))


def open_queue(gallery: Gallery, count: int) -> Locator:
    """Open the view, by an admin who is signed in."""
    gallery.choose_in_menu(f"Moderation ({count})")
    return gallery.dialog(re.compile("Moderation"))


def test_the_queue_is_decided_by_the_keyboard_alone(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    ids = [api.ready("carol", caption=f"Number {number}")["id"] for number in range(ENTRIES)]
    for post_id in ids:
        report(api, post_id)
    gallery = open_gallery(machine.url)
    gallery.sign_in("admin")
    dialog = open_queue(gallery, ENTRIES)
    for number in range(ENTRIES):
        expect(dialog).to_contain_text(f"Number {number}")
        gallery.page.keyboard.press("h" if number % 2 else "x")
    expect(dialog).to_contain_text("The queue is empty.")
    gallery.wait_for(lambda: len(log(api)) == ENTRIES)
    assert sorted(entry["post_id"] for entry in log(api)) == sorted(ids)
    hidden = [entry["post_id"] for entry in log(api) if entry["action"] == "hide"]
    assert sorted(hidden) == sorted(ids[1::2])
    gallery.page.keyboard.press("Escape")
    expect(gallery.button("Moderation (0)")).to_be_visible()
    expect(gallery.button("Moderation (0)")).to_be_focused()


def test_the_reason_and_the_text_of_a_decision_come_from_keys(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    post = api.ready("carol", caption="Sand")
    report(api, post["id"], reason="nudity")
    gallery = open_gallery(machine.url)
    gallery.sign_in("admin")
    dialog = open_queue(gallery, 1)
    expect(dialog.get_by_role("radio", name="Nudity")).to_be_checked()
    expect(dialog).to_contain_text("Says bob")
    keyboard = gallery.page.keyboard
    keyboard.press("8")
    expect(dialog.get_by_role("radio", name="Copyright")).to_be_checked()
    keyboard.press("t")
    keyboard.type("h, d and x are letters here")
    keyboard.press("Escape")
    keyboard.press("h")
    gallery.wait_for(lambda: log(api))
    (decision,) = log(api)
    assert (decision["action"], decision["reason"]) == ("hide", "copyright")
    assert decision["text"] == "h, d and x are letters here"


def test_delete_and_ban_ask_first(open_gallery: OpenGallery, machine: OneMachine, api: Api) -> None:
    post = api.ready("carol", DETAILED, caption="Sand")
    report(api, post["id"])
    gallery = open_gallery(machine.url)
    gallery.sign_in("admin")
    dialog = open_queue(gallery, 1)
    expect(dialog).to_contain_text("Sand")
    question = gallery.page.get_by_role("alertdialog")
    keyboard = gallery.page.keyboard
    keyboard.press("d")
    expect(question).to_contain_text("Delete this image for good?")
    keyboard.press("Escape")
    expect(question).to_have_count(0)
    keyboard.press("b")
    expect(question).to_contain_text("Ban carol?")
    question.get_by_role("combobox", name="Duration").select_option("For good")
    gallery.button("Ban", within=question).click()
    expect(dialog).to_contain_text("Sand")
    keyboard.press("d")
    question.get_by_role("checkbox", name=re.compile("Refuse this image")).check()
    gallery.button("Delete", within=question).click()
    expect(dialog).to_contain_text("The queue is empty.")
    gallery.wait_for(lambda: len(log(api)) == 2)
    assert [entry["action"] for entry in log(api)] == ["ban", "delete"]
    assert log(api)[0]["until"] is None
    answer = api.send("POST", f"/posts/{post['id']}/comments", "carol", json={"content": "Why?"})
    assert answer.json()["code"] == "banned"


@pytest.mark.parametrize(
    ("key", "decided", "undone"), [("h", "hide", "restore"), ("b", "ban", "unban")]
)
def test_a_decision_is_undone_by_its_opposite(
    open_gallery: OpenGallery, machine: OneMachine, api: Api, key: str, decided: str, undone: str
) -> None:
    post = api.ready("carol", caption="Sand")
    report(api, post["id"])
    gallery = open_gallery(machine.url)
    gallery.sign_in("admin")
    dialog = open_queue(gallery, 1)
    expect(dialog).to_contain_text("Sand")
    gallery.page.keyboard.press(key)
    if decided == "ban":
        expect(gallery.page.get_by_role("alertdialog")).to_be_visible()
        gallery.page.keyboard.press("Enter")
    expect(gallery.button("Undo")).to_be_visible()
    gallery.page.keyboard.press("u")
    expect(dialog).to_contain_text("Undone")
    expect(dialog).to_contain_text("Sand")
    gallery.wait_for(lambda: len(log(api)) == 2)
    assert [entry["action"] for entry in log(api)] == [decided, undone]
    assert api.get(f"/posts/{post['id']}").json()["status"] == "ready"
    path, comment = f"/posts/{post['id']}/comments", {"content": "Hi"}
    assert api.send("POST", path, "carol", json=comment).status_code == 201


def test_a_decision_that_does_not_fit_brings_its_entry_back(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    post = api.ready("carol", caption="Sand")
    report(api, post["id"])
    gallery = open_gallery(machine.url)
    gallery.sign_in("admin")
    dialog = open_queue(gallery, 1)
    expect(dialog).to_contain_text("Sand")
    for action in ("hide", "restore"):
        body = {"post_id": post["id"], "action": action, "reason": "spam"}
        assert api.send("POST", "/moderation/decisions", "root", json=body).status_code == 201
    gallery.page.keyboard.press("x")
    expect(dialog).to_contain_text("This decision does not fit the present state.")
    gallery.page.keyboard.press("Escape")
    waiting = gallery.page.get_by_role("region", name="Not sent yet")
    expect(waiting).to_contain_text("This decision does not fit the present state.")
    gallery.button("Remove", within=waiting).click()
    expect(waiting).to_have_count(0)


def test_decisions_wait_offline(open_gallery: OpenGallery, machine: OneMachine, api: Api) -> None:
    ids = [api.ready("carol", caption=text)["id"] for text in ("Sand", "Snow")]
    for post_id in ids:
        report(api, post_id)
    gallery = open_gallery(machine.url)
    gallery.sign_in("admin")
    dialog = open_queue(gallery, 2)
    expect(dialog).to_contain_text("Sand")
    machine.server.kill()
    gallery.page.keyboard.press("h")
    expect(dialog).to_contain_text("Snow")
    gallery.page.keyboard.press("x")
    expect(dialog).to_contain_text("The queue is empty.")
    expect(gallery.status).to_contain_text("Offline: 2 waiting")
    machine.start()
    gallery.wait_for(lambda: len(log(api)) == 2)
    assert {entry["post_id"]: entry["action"] for entry in log(api)} == {
        ids[0]: "hide",
        ids[1]: "dismiss",
    }


def test_a_hidden_post_is_shown_to_its_creator_who_appeals(
    open_gallery: OpenGallery, machine: OneMachine, api: Api, other_context: BrowserContext
) -> None:
    post = api.ready("carol", caption="Sand")
    api.ready("carol", caption="Snow")
    body = {
        "post_id": post["id"],
        "action": "hide",
        "reason": "copyright",
        "text": "<i>Not yours</i>",
    }
    assert api.send("POST", "/moderation/decisions", "admin", json=body).status_code == 201
    gallery = open_gallery(machine.url)
    expect(gallery.article("Snow")).to_be_visible()
    expect(gallery.article("Sand")).to_have_count(0)
    gallery.sign_in("carol")
    region = gallery.page.get_by_role("region", name="Only you see these")
    hidden = region.get_by_role("article", name="Sand")
    expect(hidden).to_contain_text("Hidden by the service. Nobody else sees this image.")
    expect(hidden).to_contain_text("Copyright")
    expect(hidden).to_contain_text("<i>Not yours</i>")
    expect(hidden.get_by_role("img")).to_have_attribute("src", re.compile("^blob:"))
    gallery.wait_until_shown("Sand")
    hidden.get_by_role("link").click()
    viewer = gallery.dialog("Sand")
    expect(viewer).to_contain_text("Hidden by the service.")
    expect(viewer.get_by_role("img")).to_have_attribute("src", re.compile("^blob:"))
    gallery.close_dialog()
    gallery.button("Appeal", within=hidden).click()
    gallery.dialog("Appeal").get_by_role("textbox").fill("It is my own sand")
    gallery.button("Send appeal").click()
    expect(hidden).to_contain_text("waits for a decision.")
    admin = Gallery(other_context.new_page(), machine.url)
    admin.open()
    admin.sign_in("admin")
    dialog = open_queue(admin, 1)
    expect(dialog).to_contain_text("It is my own sand")
    image = dialog.get_by_role("img", name="Sand")
    expect(image).to_have_attribute("src", re.compile("^blob:"))
    admin.page.keyboard.press("x")
    admin.wait_for(lambda: len(log(api)) == 2)
    gallery.page.reload()
    expect(hidden).to_contain_text("Your appeal was dismissed.")
    gallery.choose_in_menu("Account")
    decisions = gallery.dialog("Account").get_by_role("list", name="Decisions")
    expect(decisions).to_contain_text("Your image was hidden")
    expect(decisions).to_contain_text("<i>Not yours</i>")
    assert admin.faults == []


def test_an_appeal_about_deleted_content_shows_the_decision_and_is_dismissed(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    post = api.ready("carol", caption="Meadow", alt="A meadow")
    comment = api.comment(post["id"], "dave", "Buy my watches")
    subjects = {
        "dave": {"post_id": post["id"], "comment_id": comment["id"]},
        "carol": {"post_id": post["id"]},
    }
    for user, subject in subjects.items():
        body = {**subject, "action": "delete", "reason": "spam", "text": f"Rule 1, {user}."}
        decision = api.send("POST", "/moderation/decisions", "root", json=body).json()
        path, appeal = f"/me/decisions/{decision['id']}/appeal", {"text": f"{user} objects."}
        assert api.send("POST", path, user, json=appeal).status_code == 201
    gallery = open_gallery(machine.url)
    gallery.sign_in("admin")
    dialog = open_queue(gallery, 2)
    for user, words in (("dave", "The comment"), ("carol", "The image")):
        expect(dialog).to_contain_text(f"{user} objects.")
        expect(dialog).to_contain_text(f"{words} is no longer there.")
        expect(dialog).to_contain_text("Deleted by root")
        expect(dialog).to_contain_text(f"Rule 1, {user}.")
        expect(gallery.button("Delete", within=dialog)).to_have_count(0)
        gallery.page.keyboard.press("x")
    expect(dialog).to_contain_text("The queue is empty.")
    gallery.wait_for(lambda: len(log(api)) == 4)
    assert [entry["action"] for entry in log(api)] == ["delete", "delete", "dismiss", "dismiss"]


def test_a_creator_sees_a_decision_in_an_open_page(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    post = api.ready("carol", caption="Meadow")
    gallery = open_gallery(machine.url)
    gallery.sign_in("carol")
    region = gallery.page.get_by_role("region", name="Only you see these")
    article = gallery.page.locator(".feed").get_by_role("article", name="Meadow")
    expect(article).to_be_visible()
    for action, shown in (("hide", region), ("restore", article)):
        body = {"post_id": post["id"], "action": action, "reason": "spam"}
        assert api.send("POST", "/moderation/decisions", "root", json=body).status_code == 201
        gallery.choose_in_menu("Account")
        expect(gallery.dialog("Account")).to_be_visible()
        gallery.close_dialog()
        expect(shown).to_be_visible()
        expect(article if shown is region else region).to_have_count(0)


def test_a_post_in_review_appears_once_it_is_published(
    open_gallery: OpenGallery, tmp_path: Path, other_context: BrowserContext
) -> None:
    machine = OneMachine(tmp_path, "--admins", "admin", "--review", "all")
    try:
        gallery = open_gallery(machine.url)
        gallery.sign_in("carol")
        gallery.post("Sand")
        expect(gallery.status).to_contain_text("It appears when an admin has published it.")
        region = gallery.page.get_by_role("region", name="Only you see these")
        expect(region.get_by_role("article", name="Sand")).to_contain_text("Waiting for review.")
        admin = Gallery(other_context.new_page(), machine.url)
        admin.open()
        admin.sign_in("admin")
        dialog = open_queue(admin, 1)
        expect(dialog.get_by_role("img", name="Sand")).to_have_attribute(
            "src", re.compile("^blob:")
        )
        admin.page.keyboard.press("p")
        expect(dialog).to_contain_text("The queue is empty.")
        expect(admin.status).not_to_contain_text("waiting")
        gallery.page.reload()
        expect(gallery.article("Sand")).to_be_visible()
        expect(region).to_have_count(0)
        assert admin.faults == []
    finally:
        machine.kill()


def test_only_admins_have_the_queue(open_gallery: OpenGallery, machine: OneMachine) -> None:
    gallery = open_gallery(machine.url)
    gallery.sign_in("bob")
    expect(gallery.button("Account")).to_be_visible()
    expect(gallery.page.get_by_role("button", name=re.compile("Moderation"))).to_have_count(0)


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_views_of_moderation(
    browser: Browser, machine: OneMachine, api: Api, scheme: Literal["light", "dark"]
) -> None:
    """Axe is put into the page, whose policy allows only its own scripts."""
    ids = [api.ready("carol", caption=f"Number {number}")["id"] for number in range(3)]
    report(api, ids[0])
    body = {"post_id": ids[1], "action": "hide", "reason": "spam", "text": "No"}
    assert api.send("POST", "/moderation/decisions", "admin", json=body).status_code == 201
    options: dict[str, Any] = {"color_scheme": scheme, "reduced_motion": "reduce"}
    with browser.new_context(**options, bypass_csp=True) as context:
        gallery = Gallery(context.new_page(), machine.url)
        gallery.open()
        gallery.page.add_script_tag(path=browsers.AXE)

        def audit() -> None:
            violations = gallery.page.evaluate(AUDIT)["violations"]
            assert [(fault["id"], fault["nodes"][0]["html"]) for fault in violations] == []

        gallery.sign_in("carol")
        expect(gallery.page.get_by_role("region", name="Only you see these")).to_be_visible()
        audit()
        gallery.choose_in_menu("Account")
        expect(gallery.dialog("Account")).to_contain_text("Your image was hidden")
        audit()
        gallery.button("Appeal", within=gallery.dialog("Account")).click()
        expect(gallery.dialog("Appeal")).to_be_visible()
        audit()
        gallery.page.keyboard.press("Escape")
        gallery.close_dialog()
        gallery.choose_in_menu("Sign out")
        gallery.sign_in("admin")
        gallery.button("Report", within=gallery.article("Number 2")).click()
        expect(gallery.dialog("Report")).to_be_visible()
        audit()
        gallery.close_dialog()
        dialog = open_queue(gallery, 1)
        expect(dialog).to_contain_text("Number 0")
        audit()
        gallery.page.keyboard.press("d")
        expect(gallery.page.get_by_role("alertdialog")).to_be_visible()
        audit()
