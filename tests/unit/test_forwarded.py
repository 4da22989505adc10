"""Whose word is taken for who asks."""

from typing import Any

import pytest
import structlog

from image_poster.editions import StartError
from image_poster.editions.local.settings import Settings
from image_poster.http.addresses import (
    TrustedProxies,
    address_group,
    is_from_this_machine,
    networks,
)

PROXIES = networks(("127.0.0.1", "10.0.0.0/8", "2001:db8::1"))


def scope(peer: str | None, *headers: tuple[str, str]) -> Any:
    """A request from `peer`, as a server hands it over."""
    sent = [(name.encode(), value.encode()) for name, value in headers]
    return {"client": peer and (peer, 4711), "headers": sent}


def client(peer: str, *forwarded_for: str) -> str:
    sent = [("x-forwarded-for", value) for value in forwarded_for]
    return TrustedProxies(PROXIES).client(scope(peer, *sent))


def test_without_a_proxy_the_peer_asks() -> None:
    assert client("203.0.113.7") == "203.0.113.7"


def test_a_stranger_cannot_say_that_somebody_else_asks() -> None:
    assert client("203.0.113.7", "198.51.100.1") == "203.0.113.7"


def test_a_trusted_proxy_says_who_asks() -> None:
    assert client("127.0.0.1", "203.0.113.7") == "203.0.113.7"


def test_what_a_client_wrote_before_its_own_address_is_not_believed() -> None:
    assert client("127.0.0.1", "198.51.100.1, 203.0.113.7") == "203.0.113.7"


def test_a_header_that_came_twice_is_one_list() -> None:
    """A proxy may add a line of its own instead of an entry."""
    assert client("127.0.0.1", "198.51.100.1", "203.0.113.7") == "203.0.113.7"


def test_a_chain_of_trusted_proxies_is_followed_to_its_end() -> None:
    assert client("127.0.0.1", "203.0.113.7, 10.1.2.3") == "203.0.113.7"


def test_if_all_are_proxies_the_farthest_asks() -> None:
    assert client("127.0.0.1", "10.9.9.9, 10.1.2.3") == "10.9.9.9"


@pytest.mark.parametrize("rubbish", ["unknown", "_hidden", "", "1.2.3", "[2001:db8", "a" * 9999])
def test_what_is_no_address_ends_the_list(rubbish: str) -> None:
    assert client("127.0.0.1", f"198.51.100.1, {rubbish}, 10.1.2.3").startswith(("10.", "198."))
    assert client("127.0.0.1", rubbish) == "127.0.0.1"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("203.0.113.7:8443", "203.0.113.7"),
        ("[2001:db8::7]:8443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_addresses_are_one_however_they_are_written(written: str, meant: str) -> None:
    assert client("127.0.0.1", written) == meant
    assert client("::ffff:127.0.0.1", written) == meant


def test_an_ipv6_network_of_a_household_is_one_caller() -> None:
    assert address_group("2001:db8::1:2:3:4") == address_group("2001:db8::9")
    assert address_group("2001:db8:0:1::1") != address_group("2001:db8::1")
    assert address_group("203.0.113.7") == "203.0.113.7"


def test_where_the_server_names_no_peer_nobody_is_named() -> None:
    assert TrustedProxies(PROXIES).client(scope(None, ("x-forwarded-for", "10.0.0.1"))) == ""


def test_an_unknown_proxy_on_this_machine_is_warned_of_once_by_the_setting_that_is_missing() -> (
    None
):
    proxies = TrustedProxies()
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            assert proxies.client(scope("127.0.0.1", ("x-forwarded-for", "203.0.113.7"))) == (
                "127.0.0.1"
            )
    assert len(logged) == 1
    assert "--trusted-proxies 127.0.0.1" in logged[0]["event"]


@pytest.mark.parametrize(
    "header", ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-whatever"]
)
def test_what_a_proxy_on_this_machine_passes_on_does_not_come_from_this_machine(
    header: str,
) -> None:
    assert is_from_this_machine(scope("127.0.0.1", ("host", "localhost")))
    assert is_from_this_machine(scope("::1"))
    assert not is_from_this_machine(scope("127.0.0.1", (header, "x")))
    assert not is_from_this_machine(scope("203.0.113.7"))
    assert not is_from_this_machine(scope(None))


@pytest.mark.parametrize("entry", ["localhost", "10.0.0.1/8", "10.0.0.0/99", "127.0.0.1:80"])
def test_a_proxy_that_could_never_be_met_stops_the_start(entry: str) -> None:
    with pytest.raises(StartError, match=f"trusted_proxies: {entry} is no address"):
        Settings(trusted_proxies=f"127.0.0.1, {entry}")


@pytest.mark.parametrize("missing", ["trusted_proxies", "renditions_group"])
def test_proxies_send_files_only_if_they_are_named_and_can_read_them(missing: str) -> None:
    complete: dict[str, Any] = {"trusted_proxies": "127.0.0.1", "renditions_group": "nogroup"}
    Settings(accel_redirect=True, **complete)
    with pytest.raises(StartError, match=f"accel_redirect needs .*{missing}"):
        Settings(accel_redirect=True, **complete | {missing: ""})
