"""Sign out on a device that several people use: nothing of the last user is shown or used."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from aws_local.ports import free_port
from support import samples
from support.browsers import Gallery
from support.chaos import Weather, chaos
from support.issuer import AUDIENCE, FakeIssuer, running_issuer
from support.machines import OneMachine, own_token
from support.servers import Server, local_server

OpenGallery = Callable[..., Gallery]
_STORED_NAMES = """() => new Promise((done) => {
    indexedDB.open("image-poster /").onsuccess = (event) => {
        const session = event.target.result.transaction("session").objectStore("session");
        session.getAllKeys().onsuccess = (keys) => done(keys.target.result);
    };
})"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OneMachine]:
    service = OneMachine(tmp_path)
    yield service
    service.kill()


def _sign_out(gallery: Gallery) -> None:
    gallery.button("Sign out").click()
    gallery.button("Sign out", within=gallery.page.get_by_role("alertdialog")).click()
    expect(gallery.button("Sign in")).to_be_visible()


def _shows_nothing(gallery: Gallery) -> None:
    expect(gallery.button("Sign in")).to_be_visible()
    expect(gallery.uploads).to_have_count(0)
    expect(gallery.status).not_to_contain_text("waiting")
    expect(gallery.page.locator("body")).not_to_contain_text("alice")
    expect(gallery.page.locator("body")).not_to_contain_text("Secret")


def test_after_sign_out_no_tab_shows_what_waits_also_after_a_reload(
    open_gallery: OpenGallery, machine: OneMachine
) -> None:
    first, second = open_gallery(machine.url), open_gallery(machine.url)
    first.sign_in("alice")
    expect(second.button("Sign out")).to_be_visible()
    first.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    machine.server.kill()
    first.post("Secret")
    expect(second.uploads).to_contain_text("Secret")
    _sign_out(first)
    for gallery in (first, second):
        _shows_nothing(gallery)
        gallery.page.reload()
        _shows_nothing(gallery)
    machine.start()
    second.sign_in("alice")
    expect(second.article("Secret")).to_be_visible()
    assert machine.captions("alice") == ["Secret"]


def test_sign_out_empties_what_another_tab_has_open(
    open_gallery: OpenGallery, machine: OneMachine
) -> None:
    first, second = open_gallery(machine.url), open_gallery(machine.url)
    first.sign_in("alice")
    first.post("Open to all")
    dialog = first.comments_of("Open to all")
    dialog.get_by_role("textbox", name="Comment").fill("Secret comment")
    draft = second.choose(("Secret.jpg", samples.jpeg()))
    draft.get_by_role("textbox", name="Caption").fill("Secret caption")
    third = open_gallery(machine.url)
    third.button("Sign out").click()
    for gallery in (first, second):
        expect(gallery.button("Sign in")).to_be_attached()
        expect(gallery.dialog("New post")).to_have_count(0)
        expect(gallery.page.locator("body")).not_to_contain_text("Secret")
    expect(dialog.get_by_role("textbox", name="Comment")).to_have_value("")
    second.sign_in("bob")
    second.button("New post").click()
    expect(second.dialog("New post").get_by_role("group")).to_have_count(0)


def test_sign_out_ends_what_is_being_sent(open_gallery: OpenGallery, tmp_path: Path) -> None:
    slow = Weather(bytes_per_second=100_000)
    with local_server(tmp_path) as server, chaos(server.url, slow) as proxy:
        gallery = open_gallery(proxy.url)
        gallery.sign_in("alice")
        dialog = gallery.choose(("large.bmp", samples.bitmap(1000, 700)))
        gallery.button("Post", within=dialog).click()
        gallery.wait_until_sent(10)
        users: list[str | None] = []
        with gallery.page.expect_event("requestfailed") as ended:
            _sign_out(gallery)
        assert ended.value.method == "PATCH"
        proxy.change_weather(Weather())
        gallery.page.on("request", lambda sent: users.append(sent.headers.get("user-id")))
        gallery.sign_in("bob")
        gallery.post("From bob")
        expect(gallery.article("From bob")).to_be_visible()
        assert set(users) <= {None, "bob"}


def test_an_expired_session_can_be_signed_out(open_gallery: OpenGallery, tmp_path: Path) -> None:
    with local_server(tmp_path, "--auth", "jwt") as server:
        gallery = open_gallery(server.url)
        gallery.sign_in(own_token(tmp_path, "alice"), "Token")
        own_token(tmp_path, "--revoke-all")
        gallery.post("Secret")
        expect(gallery.status).to_contain_text("Sign in again to send: 1 waiting")
        gallery.button("Sign out").click()
        dialog = gallery.page.get_by_role("alertdialog")
        expect(dialog).to_contain_text("1 entry of yours is not sent yet")
        gallery.button("Sign out", within=dialog).click()
        _shows_nothing(gallery)
        gallery.sign_in(own_token(tmp_path, "bob"), "Token")
        expect(gallery.uploads).to_have_count(0)


@contextmanager
def _with_issuer(folder: Path, *, has_logout: bool = False) -> Iterator[tuple[FakeIssuer, Server]]:
    """On a port that nobody else gets while the server is away."""
    with running_issuer() as issuer:
        issuer.has_logout = has_logout
        flags = ("--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE, "--jwt-client-id", "page")
        port = str(free_port())
        with local_server(folder, "--auth", "jwt", "--port", port, *flags) as server:
            yield issuer, server


def _continue(gallery: Gallery, issuer: FakeIssuer) -> None:
    gallery.button("Sign in").click()
    gallery.button(f"Continue at {issuer.url.removeprefix('http://')}").click()
    expect(gallery.button("Sign out")).to_be_visible()


def test_the_issuer_asks_for_credentials_after_sign_out(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    with _with_issuer(tmp_path) as (issuer, server):
        gallery = open_gallery(server.url)
        _continue(gallery, issuer)
        gallery.button("Sign out").click()
        _continue(gallery, issuer)
        gallery.page.reload()
        expect(gallery.button("Sign out")).to_be_visible()
    prompts = [query.get("prompt") for query in issuer.authorizations]
    assert prompts == [None, "login"]


def test_the_issuer_is_told_of_sign_out_where_it_has_a_page_for_it(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    with _with_issuer(tmp_path, has_logout=True) as (issuer, server):
        gallery = open_gallery(server.url)
        _continue(gallery, issuer)
        with gallery.page.expect_navigation(url=f"{server.url}/"):
            gallery.button("Sign out").click()
        expect(gallery.button("Sign in")).to_be_visible()
        (query,) = issuer.logouts
        assert query["id_token_hint"].count(".") == 2
        assert (query["client_id"], query["logout_uri"]) == ("page", f"{server.url}/")
        assert gallery.page.evaluate(_STORED_NAMES) == ["ask at issuer"]


def test_a_tab_that_renews_its_token_meanwhile_signs_nobody_in_again(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    with _with_issuer(tmp_path) as (issuer, server):
        first, second = open_gallery(server.url), open_gallery(server.url)
        _continue(first, issuer)
        expect(second.button("Sign out")).to_be_visible()
        port = server.url.rpartition(":")[2]
        server.stop()
        issuer.rotate()  # the token in hand is no longer any good
        issuer.gate.clear()
        flags = ("--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE, "--jwt-client-id", "page")
        with local_server(tmp_path, "--auth", "jwt", "--port", port, *flags):
            second.page.reload()
            assert issuer.waiting.wait(60)
            first.button("Sign out").click()
            expect(second.button("Sign in")).to_be_visible()
            with second.page.expect_response(lambda answer: answer.url.endswith("/me")):
                issuer.gate.set()
            for gallery in (first, second):
                expect(gallery.button("Sign in")).to_be_visible()
                gallery.page.reload()
                expect(gallery.button("Sign in")).to_be_visible()
                expect(gallery.button("Sign out")).to_have_count(0)
            assert issuer.exchanges == ["authorization_code", "refresh_token"]
            assert first.page.evaluate(_STORED_NAMES) == ["ask at issuer"]
