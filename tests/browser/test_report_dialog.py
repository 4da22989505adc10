"""Reports and blocks: what the page shows and sends, also offline."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.browsers import Gallery
from support.machines import OneMachine

OpenGallery = Callable[..., Gallery]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OneMachine]:
    service = OneMachine(tmp_path, "--admins", "admin")
    yield service
    service.kill()


@pytest.fixture
def api(machine: OneMachine) -> Iterator[Api]:
    """Two posts of others, one with a comment, and one of the user's own."""
    with Api(machine.url, LOCAL_EDITION) as server_api:
        meadow = server_api.ready("carol", caption="Meadow")
        server_api.comment(meadow["id"], "dave", "Buy my watches")
        server_api.ready("dave", caption="Watches")
        server_api.ready("bob", caption="My own")
        yield server_api


def report(gallery: Gallery, reason: str, details: str = "") -> None:
    """Fill in the open dialog and send it."""
    dialog = gallery.dialog("Report")
    dialog.get_by_role("radio", name=reason).check()
    dialog.get_by_role("textbox", name="Details").fill(details)
    gallery.button("Send report", within=dialog).click()
    expect(dialog).to_have_count(0)


def test_a_reported_post_leaves_the_feed_and_the_account_shows_the_outcome(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    gallery = open_gallery(machine.url)
    gallery.sign_in("bob")
    expect(gallery.button("Report", within=gallery.article("My own"))).to_have_count(0)
    gallery.button("Report", within=gallery.article("Watches")).click()
    dialog = gallery.dialog("Report")
    expect(dialog).to_contain_text("Image by dave: Watches")
    gallery.button("Send report", within=dialog).click()
    expect(dialog).to_contain_text("Choose a reason first.")
    report(gallery, "Spam", "<b>Bold</b> & cheap")
    expect(gallery.article("Watches")).to_have_count(0)
    expect(gallery.status).to_contain_text("Your report is sent. You no longer see this image.")
    gallery.page.reload()
    expect(gallery.article("Meadow")).to_be_visible()
    expect(gallery.article("Watches")).to_have_count(0)
    gallery.choose_in_menu("Account")
    reports = gallery.dialog("Account").get_by_role("list", name="My reports")
    expect(reports).to_contain_text("Not decided yet")
    expect(reports).to_contain_text("<b>Bold</b> & cheap")
    gallery.close_dialog()
    (entry,) = api.get("/moderation/queue", "admin").json()["entries"]
    assert (entry["post"]["caption"], entry["reasons"]) == ("Watches", {"spam": 1})
    decision = {"post_id": entry["post"]["id"], "action": "hide", "reason": "spam"}
    assert api.send("POST", "/moderation/decisions", "admin", json=decision).status_code == 201
    gallery.choose_in_menu("Account")
    expect(reports).to_contain_text("It was hidden")


def test_a_report_of_a_comment_leaves_the_post(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    gallery = open_gallery(machine.url)
    gallery.sign_in("bob")
    dialog = gallery.comments_of("Meadow")
    comment = dialog.get_by_role("list", name="Comments").get_by_role("listitem")
    gallery.button("Report", within=comment).click()
    report(gallery, "Spam")
    expect(comment).to_contain_text("You reported this comment.")
    gallery.close_dialog()
    expect(gallery.article("Meadow")).to_be_visible()
    expect(gallery.status).to_have_text("Your report is sent.")
    gallery.page.reload()
    gallery.comments_of("Meadow")
    expect(comment).to_contain_text("You reported this comment.")
    gallery.wait_for(lambda: api.get("/moderation/queue", "admin").json()["entries"])
    (entry,) = api.get("/moderation/queue", "admin").json()["entries"]
    assert entry["comment"]["content"] == "Buy my watches"


def test_a_report_from_the_dialog_of_a_post_closes_it(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    gallery = open_gallery(machine.url)
    gallery.sign_in("bob")
    dialog = gallery.comments_of("Watches")
    gallery.button("Report", within=dialog).click()
    report(gallery, "Spam")
    expect(gallery.dialog()).to_have_count(0)
    expect(gallery.article("Watches")).to_have_count(0)
    gallery.wait_for(lambda: api.get("/me/reports", "bob").json()["reports"])


def test_a_report_asks_to_sign_in_first(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    gallery = open_gallery(machine.url)
    gallery.button("Report", within=gallery.article("Meadow")).click()
    gallery.page.get_by_role("textbox", name="Name").fill("bob")
    gallery.page.keyboard.press("Enter")
    report(gallery, "Something else")
    gallery.wait_for(lambda: api.get("/me/reports", "bob").json()["reports"])
    assert api.get("/me/reports", "bob").json()["reports"][0]["reason"] == "other"


def test_a_blocked_user_vanishes_at_once_and_comes_back_with_unblock(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    gallery = open_gallery(machine.url)
    gallery.sign_in("bob")
    expect(gallery.article("Meadow")).to_contain_text("Buy my watches")
    gallery.button("Report", within=gallery.article("Watches")).click()
    gallery.button("Block dave", within=gallery.dialog("Report")).click()
    expect(gallery.dialog("Report")).to_contain_text("dave is blocked.")
    gallery.close_dialog()
    expect(gallery.article("Watches")).to_have_count(0)
    expect(gallery.article("Meadow")).not_to_contain_text("Buy my watches")
    dialog = gallery.comments_of("Meadow")
    expect(dialog.get_by_role("list", name="Comments")).to_have_attribute("aria-busy", "false")
    expect(dialog).not_to_contain_text("Buy my watches")
    expect(dialog).to_contain_text("All comments shown here are by users whom you block.")
    gallery.close_dialog()
    gallery.page.reload()
    expect(gallery.article("Meadow")).not_to_contain_text("Buy my watches")
    gallery.choose_in_menu("Account")
    blocked = gallery.dialog("Account").get_by_role("list", name="Blocked users")
    blocked.get_by_role("button", name="Unblock dave").click()
    expect(blocked.get_by_role("listitem")).to_have_count(0)
    gallery.close_dialog()
    expect(gallery.article("Watches")).to_be_visible()
    expect(gallery.article("Meadow")).to_contain_text("Buy my watches")
    assert api.get("/me/blocks", "bob").json()["blocks"] == []


def test_reports_and_blocks_wait_offline_and_hide_content_meanwhile(
    open_gallery: OpenGallery, machine: OneMachine, context: BrowserContext, api: Api
) -> None:
    gallery = open_gallery(machine.url)
    gallery.sign_in("bob")
    gallery.wait_until_kept("Meadow", "Watches", "My own")
    gallery.page.reload()
    expect(gallery.article("Watches")).to_be_visible()
    machine.server.kill()
    gallery.button("Report", within=gallery.article("Meadow")).click()
    report(gallery, "Hate", "Written in the tunnel")
    gallery.button("Report", within=gallery.article("Watches")).click()
    gallery.button("Block dave", within=gallery.dialog("Report")).click()
    gallery.close_dialog()
    expect(gallery.status).to_contain_text("Offline: 2 waiting")
    gallery.page.reload()
    expect(gallery.article("My own")).to_be_visible()
    for caption in ("Meadow", "Watches"):
        expect(gallery.article(caption)).to_have_count(0)
    expect(gallery.status).to_contain_text("Offline: 2 waiting")
    machine.start()
    expect(gallery.status).not_to_contain_text("waiting")
    (sent,) = api.get("/me/reports", "bob").json()["reports"]
    assert (sent["reason"], sent["text"]) == ("hate", "Written in the tunnel")
    assert [block["user"] for block in api.get("/me/blocks", "bob").json()["blocks"]] == ["dave"]
    assert len(context.pages) == 1


def test_sign_out_leaves_no_block_and_no_report_on_the_device(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    api.send("PUT", "/me/blocks/dave", "bob")
    gallery = open_gallery(machine.url)
    gallery.sign_in("bob")
    expect(gallery.article("Watches")).to_have_count(0)
    gallery.choose_in_menu("Sign out")
    expect(gallery.article("Watches")).to_be_visible()
    gallery.sign_in("erin")
    expect(gallery.article("Watches")).to_be_visible()
    gallery.choose_in_menu("Account")
    expect(gallery.dialog("Account")).to_contain_text("You block nobody.")
