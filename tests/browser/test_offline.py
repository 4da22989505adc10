"""Actions of people while there is no network, in both editions and with each way of signing in."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, expect

from support import browsers
from support.browsers import Gallery
from support.machines import Cloud, Machine, OneMachine, OneMachineWithTokens, captions, comments


@pytest.mark.parametrize(
    "service", [pytest.param(OneMachine, marks=pytest.mark.quick), OneMachineWithTokens, Cloud]
)
def test_offline_and_a_killed_browser_lose_and_double_nothing(
    service: Callable[[Path], Machine], playwright: Playwright, tmp_path: Path
) -> None:
    machine = service(tmp_path / "data")
    profile = tmp_path / "profile"
    try:
        context = browsers.persistent(playwright, profile)
        gallery = Gallery(context.pages[0], machine.url)
        gallery.open()
        gallery.sign_in(machine.credential("alice"), machine.field)
        gallery.post("One", "Two", "Three")
        for text in ("One", "Two", "Three"):
            expect(gallery.article(text)).to_be_visible()
        gallery.wait_until_kept("One", "Two", "Three")
        machine.go_away(context)
        assert gallery.is_kept()
        gallery.post("Four")
        gallery.comment(gallery.comments_of("One"), "From the tunnel")
        gallery.close_dialog()
        expect(gallery.status).to_contain_text("Offline: 2 waiting")
        expect(gallery.uploads.get_by_role("progressbar")).to_have_count(1)
        browsers.kill(profile)
        context = browsers.persistent(playwright, profile)
        if isinstance(machine, Cloud):
            machine.go_away(context)
        gallery = Gallery(context.pages[0], machine.url)
        gallery.open()
        expect(gallery.status).to_contain_text("Offline: 2 waiting")
        expect(gallery.button("Comments (1)", within=gallery.article("One"))).to_be_visible()
        gallery.wait_until_shown("One")
        machine.come_back(context)
        expect(gallery.article("Four")).to_be_visible()
        expect(gallery.uploads).to_have_count(0)
        expect(gallery.status).not_to_contain_text("waiting")
        assert gallery.faults == []
        context.close()
        assert captions(machine, "alice") == ["Four", "One", "Three", "Two"]
        assert comments(machine, "One") == ["From the tunnel"]
    finally:
        browsers.kill(profile)
        machine.kill()
