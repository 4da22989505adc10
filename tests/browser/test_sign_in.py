"""Signing in by a token, and when one runs out."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from support.api import LOCAL, Api
from support.browsers import Gallery
from support.servers import local_server

OpenGallery = Callable[..., Gallery]


def token(data: Path, *words: str) -> str:
    """One of the service's own."""
    command = [sys.executable, "-m", "image_poster", "token", *words, "--data-dir", str(data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_token_that_ran_out_is_asked_for_again_and_then_everything_goes_on(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    with local_server(tmp_path, "--auth", "jwt") as server:
        gallery = open_gallery(server.url)
        gallery.button("Sign in").click()
        gallery.page.get_by_role("textbox", name="Token").fill("no token")
        gallery.page.keyboard.press("Enter")
        expect(gallery.dialog("Sign in")).to_contain_text("That was not accepted")
        gallery.page.get_by_role("textbox", name="Token").fill(token(tmp_path, "alice"))
        gallery.page.keyboard.press("Enter")
        expect(gallery.button("Sign out")).to_be_visible()
        gallery.post("While it held")
        expect(gallery.article("While it held")).to_be_visible()
        token(tmp_path, "--revoke-all")
        gallery.post("When it no longer did")
        expect(gallery.status).to_contain_text("Sign in again to go on: 1 waiting")
        expect(gallery.uploads).to_contain_text("Waiting until alice signs in")
        gallery.sign_in(token(tmp_path, "alice"), "Token")
        expect(gallery.article("When it no longer did")).to_be_visible()
        with Api(server.url, LOCAL) as api:
            assert len(api.feed(creator="alice")["posts"]) == 2
