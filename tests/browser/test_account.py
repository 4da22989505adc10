"""The account: the user's data in one file, deletion, and the operator's rules and contact."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.browsers import Gallery
from support.machines import OneMachine
from support.servers import local_server

OpenGallery = Callable[..., Gallery]
_STORED = """() => new Promise((done) => {
    indexedDB.open("image-poster /").onsuccess = async (event) => {
        const database = event.target.result;
        const stores = ["entries", "images", "session"];
        const reading = database.transaction(stores);
        const counts = stores.map((name) => new Promise((read) => {
            reading.objectStore(name).count().onsuccess = (count) => read(count.target.result);
        }));
        done(await Promise.all(counts));
    };
})"""

_IS_CACHED = """async (caption) => {
    const feed = await caches.match("posts?limit=10&sort=top", { ignoreVary: true });
    return feed !== undefined && (await feed.text()).includes(caption);
}"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OneMachine]:
    service = OneMachine(tmp_path, "--admins", "admin")
    yield service
    service.kill()


@pytest.fixture
def api(machine: OneMachine) -> Iterator[Api]:
    with Api(machine.url, LOCAL_EDITION) as server_api:
        yield server_api


def test_all_data_of_a_user_come_in_one_file(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    original = samples.jpeg(900, 600)
    own = api.ready("alice", original, caption="Größe")
    hidden = api.ready("alice", samples.by_vips(".png"), caption="Hidden")
    other = api.ready("bob", caption="Of bob")
    api.comment(other["id"], "alice", "Mine")
    api.send("PUT", "/me/blocks/carol", "alice")
    body = {"post_id": other["id"], "reason": "other", "text": "Just so"}
    assert api.send("POST", "/reports", "alice", json=body).status_code == 201
    decision = {"post_id": hidden["id"], "action": "hide", "reason": "spam"}
    assert api.send("POST", "/moderation/decisions", "admin", json=decision).status_code == 201
    gallery = open_gallery(machine.url)
    gallery.sign_in("alice")
    gallery.choose_in_menu("Account")
    with gallery.page.expect_download() as download:
        gallery.button("Download my data").click()
    assert download.value.suggested_filename == "alice.zip"
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        assert archive.testzip() is None
        lists = {
            name: json.loads(archive.read(f"{name}.json"))
            for name in ("posts", "comments", "reports", "blocks", "decisions")
        }
        assert archive.read(f"originals/{own['id']}.jpg") == original
        assert archive.read(f"originals/{hidden['id']}.png")
    assert sorted(post["caption"] for post in lists["posts"]) == ["Größe", "Hidden"]
    assert [comment["content"] for comment in lists["comments"]] == ["Mine"]
    assert [report["text"] for report in lists["reports"]] == ["Just so"]
    assert [block["user"] for block in lists["blocks"]] == ["carol"]
    (entry,) = lists["decisions"]
    assert (entry["action"], entry["post_id"], entry["appeal"]) == ("hide", hidden["id"], None)
    expect(gallery.dialog("Account")).to_contain_text("The file is ready")


def test_a_deleted_account_leaves_nothing_on_the_device(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    api.ready("alice", caption="To be gone")
    api.ready("bob", caption="Stays")
    gallery, second = open_gallery(machine.url), open_gallery(machine.url)
    gallery.sign_in("alice")
    gallery.wait_until_kept("To be gone", "Stays")
    gallery.choose_in_menu("Account")
    gallery.button("Delete account", within=gallery.dialog("Account")).click()
    question = gallery.page.get_by_role("alertdialog")
    name = question.get_by_role("textbox")
    confirm = gallery.button("Delete account", within=question)
    name.fill("alic")
    expect(confirm).to_be_disabled()
    name.fill("alice")
    confirm.click()
    for page in (gallery, second):
        expect(page.button("Sign in")).to_be_visible()
        expect(page.dialog()).to_have_count(0)
    expect(gallery.status).to_contain_text("Your account is being deleted.")
    expect(gallery.article("Stays")).to_be_visible()
    expect(gallery.article("To be gone")).to_have_count(0)
    assert gallery.page.evaluate(_STORED) == [0, 0, 0]
    assert not gallery.page.evaluate(_IS_CACHED, "To be gone")
    assert [post["caption"] for post in api.feed()["posts"]] == ["Stays"]


def test_deleting_an_account_needs_a_connection(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    gallery = open_gallery(machine.url)
    gallery.sign_in("alice")
    gallery.choose_in_menu("Account")
    gallery.button("Delete account", within=gallery.dialog("Account")).click()
    machine.server.kill()
    question = gallery.page.get_by_role("alertdialog")
    question.get_by_role("textbox").fill("alice")
    gallery.button("Delete account", within=question).click()
    expect(question).to_contain_text("Deleting an account needs a connection.")
    gallery.page.keyboard.press("Escape")
    gallery.close_dialog()
    expect(gallery.button("Sign out")).to_be_visible()
    machine.start()
    assert api.get("/me", "alice").json()["user"] == "alice"


def test_a_banned_user_reads_why_and_until_when(
    open_gallery: OpenGallery, machine: OneMachine, api: Api
) -> None:
    api.ready("bob", caption="Of bob")
    ban = {"user": "alice", "action": "ban", "reason": "hate", "text": "Three times"}
    body = {**ban, "until": "2099-05-04T12:00:00Z"}
    assert api.send("POST", "/moderation/decisions", "admin", json=body).status_code == 201
    gallery = open_gallery(machine.url)
    gallery.sign_in("alice")
    gallery.comment(gallery.comments_of("Of bob"), "Fourth")
    gallery.close_dialog()
    waiting = gallery.page.get_by_role("region", name="Not sent yet")
    expect(waiting).to_contain_text("You are banned, so you may not write.")
    gallery.choose_in_menu("Account")
    decisions = gallery.dialog("Account").get_by_role("list", name="Decisions")
    expect(decisions).to_contain_text("You were banned until May 4, 2099")
    expect(decisions).to_contain_text("Three times")
    gallery.button("Appeal", within=decisions).click()
    gallery.dialog("Appeal").get_by_role("textbox").fill("Only twice")
    gallery.button("Send appeal").click()
    expect(decisions).to_contain_text("waits for a decision.")
    (entry,) = api.get("/moderation/queue", "admin").json()["entries"]
    assert (entry["user"], entry["appeal"]["text"]) == ("alice", "Only twice")
    unban = {"user": "alice", "action": "unban"}
    assert api.send("POST", "/moderation/decisions", "admin", json=unban).status_code == 201
    gallery.close_dialog()
    gallery.choose_in_menu("Account")
    expect(decisions).to_contain_text("Your appeal was granted.")
    expect(decisions).not_to_contain_text("waits for a decision.")


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("help@example.org", "mailto:help@example.org"),
        ("https://example.org/help", "https://example.org/help"),
        ("Room 12, first floor", None),
    ],
)
def test_the_footer_has_the_rules_and_the_contact(
    open_gallery: OpenGallery, tmp_path: Path, contact: str, link: str | None
) -> None:
    rules = "https://example.org/rules"
    with local_server(tmp_path, "--rules-url", rules, "--contact", contact) as server:
        gallery = open_gallery(server.url)
        footer = gallery.page.get_by_role("contentinfo")
        expect(footer.get_by_role("link", name="Rules")).to_have_attribute("href", rules)
        if link is None:
            expect(footer).to_contain_text(contact)
        else:
            expect(footer.get_by_role("link", name="Contact")).to_have_attribute("href", link)


def test_there_is_no_footer_without_rules_and_contact(
    open_gallery: OpenGallery, machine: OneMachine
) -> None:
    gallery = open_gallery(machine.url)
    gallery.page.wait_for_load_state("networkidle")
    expect(gallery.page.get_by_role("contentinfo")).to_have_count(0)
