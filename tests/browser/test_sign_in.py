"""Signing in by a token or at an issuer, and when a token runs out; the same page below a path."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from aws_local.ports import free_port
from support.api import LOCAL, Api
from support.browsers import Gallery
from support.issuer import AUDIENCE, running_issuer
from support.machines import own_token
from support.servers import local_server

OpenGallery = Callable[..., Gallery]


def test_a_token_that_ran_out_is_asked_for_again_and_then_everything_goes_on(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    with local_server(tmp_path, "--auth", "jwt") as server:
        gallery = open_gallery(server.url)
        gallery.button("Sign in").click()
        gallery.page.get_by_role("textbox", name="Token").fill("no token")
        gallery.page.keyboard.press("Enter")
        expect(gallery.dialog("Sign in")).to_contain_text("The service did not accept this sign-in")
        gallery.page.get_by_role("textbox", name="Token").fill(own_token(tmp_path, "alice"))
        gallery.page.keyboard.press("Enter")
        expect(gallery.button("Sign out")).to_be_visible()
        gallery.post("While it held")
        expect(gallery.article("While it held")).to_be_visible()
        own_token(tmp_path, "--revoke-all")
        gallery.post("When it no longer did")
        expect(gallery.status).to_contain_text("Sign in again to send: 1 waiting")
        expect(gallery.uploads).to_contain_text("Waiting until alice signs in")
        gallery.sign_in(own_token(tmp_path, "alice"), "Token")
        expect(gallery.article("When it no longer did")).to_be_visible()
        with Api(server.url, LOCAL) as api:
            assert len(api.feed(creator="alice")["posts"]) == 2


def test_an_issuer_signs_in_and_renews_a_token_by_itself(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    """It gives tokens at another host than its own, as Cognito does."""
    with running_issuer() as issuer:
        issuer.tokens_at = issuer.url.replace("127.0.0.1", "localhost")
        flags = (
            *("--auth", "jwt", "--port", str(free_port()), "--jwt-issuer", issuer.url),
            *("--jwt-audience", AUDIENCE, "--jwt-client-id", "page"),
        )
        with local_server(tmp_path, *flags) as server:
            gallery = open_gallery(server.url)
            gallery.button("Sign in").click()
            gallery.button(f"Continue at {issuer.url.removeprefix('http://')}").click()
            expect(gallery.button("Sign out")).to_be_visible()
            assert issuer.exchanges == ["authorization_code"]
            assert "code=" not in gallery.page.url
            gallery.post("By way of the issuer")
            expect(gallery.article("By way of the issuer")).to_be_visible()
            issuer.rotate()  # the token in hand is no longer any good
            server.stop()
        with local_server(tmp_path, *flags):
            gallery.post("With another token")
            expect(gallery.article("With another token")).to_be_visible()
            assert issuer.exchanges == ["authorization_code", "refresh_token"]


def test_below_a_path_it_is_the_same_page_there_and_offline(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    port = free_port()
    public = f"http://127.0.0.1:{port}/photos"
    with local_server(tmp_path, "--port", str(port), "--public-url", public):
        gallery = open_gallery(public, "")
        assert gallery.page.url == f"{public}/"
        gallery.sign_in("alice")
        gallery.post("Below a path")
        expect(gallery.article("Below a path")).to_be_visible()
        gallery.wait_until_kept("Below a path")
    gallery.page.reload()
    expect(gallery.article("Below a path")).to_be_visible()
    expect(gallery.status).to_contain_text("offline")
