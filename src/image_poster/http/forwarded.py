"""The headers in which proxies pass on the client's address, and the scheme and host of its
request.

`X-Forwarded-For`, `-Proto` and `-Host` are trusted from `--trusted-proxies` only; any other peer
can write any value into them. `Forwarded` (RFC 7239) is ignored: Caddy and nginx pass on the
client's value unchanged.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import structlog
from litestar.types import HTTPScope

_log = structlog.get_logger()

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORWARDED_FOR, _FORWARDED = b"x-forwarded-for", b"forwarded"
_PROTO, _HOST = b"x-forwarded-proto", b"x-forwarded-host"
_ANY_FORWARDED = b"x-forwarded-"
_SCHEMES = {"http", "https"}
# A customer has at least that much of IPv6 (RFC 6177), so a person has all addresses in it.
_IPV6_PREFIX = 64
_MAX_REMEMBERED, _MAX_REMEMBERED_BYTES = 4096, 512


class ForwardedOrigin(NamedTuple):
    """The `scheme` of the client's request, and its `host`, with the port if there is one; None if
    no proxy reported it."""

    scheme: str | None
    host: str | None


class TrustedProxies:
    """The proxies whose X-Forwarded-… headers are trusted."""

    def __init__(self, networks: tuple[Network, ...] = ()) -> None:
        self._networks = networks
        self._has_warned = False
        # Most requests come from where others came from just now.
        self._remembered = lru_cache(_MAX_REMEMBERED)(self._client)
        self._is_proxy = lru_cache(_MAX_REMEMBERED)(self._names_proxy)

    def client(self, scope: HTTPScope) -> str:
        """The client's address: the peer's, or, behind proxies, the nearest address in
        `X-Forwarded-For` that is not a proxy's. Empty if the peer has none (AWS)."""
        sent = tuple([value for name, value in scope["headers"] if name == _FORWARDED_FOR])
        find = self._remembered if sum(map(len, sent)) <= _MAX_REMEMBERED_BYTES else self._client
        return find(peer_of(scope), sent)

    def _client(self, peer_text: str, sent: tuple[bytes, ...]) -> str:
        peer, named = parsed_address(peer_text), _entries(sent)
        if peer is None:
            return ""
        if not named:
            return str(peer)
        if not self._trusts(peer):
            self._warn(peer)
            return str(peer)
        return str(self._nearest(peer, named))

    def origin(self, scope: HTTPScope) -> ForwardedOrigin:
        """The scheme and host that the peer reports, if it is a trusted proxy."""
        peer = parsed_address(peer_of(scope))
        if peer is None or not self._trusts(peer):
            return ForwardedOrigin(None, None)
        schemes, hosts = _values(scope, _PROTO), _values(scope, _HOST)
        scheme = schemes[-1].lower() if schemes else None
        return ForwardedOrigin(scheme if scheme in _SCHEMES else None, hosts[-1] if hosts else None)

    def between(self, peer: str, *, forwarded: bool) -> bool:
        """True if the peer is one of these proxies and passes on another client's request;
        `forwarded`: it sent `X-Forwarded-For`."""
        return forwarded and self._is_proxy(peer)

    def _nearest(self, peer: Address, named: list[str]) -> Address:
        """The nearest address that is not a proxy's. Each proxy appends the address of its client,
        and the client can write any value before its own address."""
        nearest = peer
        for entry in reversed(named):
            found = parsed_address(_without_port(entry))
            if found is None:
                return nearest
            nearest = found
            if not self._trusts(found):
                return nearest
        return nearest

    def _names_proxy(self, peer: str) -> bool:
        address = parsed_address(peer)
        return address is not None and self._trusts(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _warn(self, peer: Address) -> None:
        """Warn once of an untrusted proxy on this machine: all its clients count as one."""
        if peer.is_loopback and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "a proxy on this machine sends X-Forwarded-For, and is not believed: all its "
                f"clients count as one. If it is yours, set --trusted-proxies {peer} "
                "(IMAGE_POSTER_TRUSTED_PROXIES)"
            )


def networks(entries: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks in `entries`, such as `127.0.0.1` or `10.0.0.0/8`. Raises `ValueError` that
    names the entry."""
    return tuple(map(ipaddress.ip_network, entries))


def parsed_address(text: str) -> Address | None:
    """Parse an address; an IPv4 address written as IPv6 becomes IPv4 (RFC 4291, section
    2.5.5.2)."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


@lru_cache(_MAX_REMEMBERED)
def address_group(address: str) -> str:
    """The addresses that count as one caller: an IPv4 address, or the /64 of an IPv6 address."""
    found = parsed_address(address)
    if not isinstance(found, ipaddress.IPv6Address):
        return address
    return str(ipaddress.ip_network((int(found), _IPV6_PREFIX), strict=False))


def peer_of(scope: HTTPScope) -> str:
    """The address of the connection's peer; empty if the server does not know it."""
    client: Any = scope.get("client")
    return client[0] if client else ""


def is_from_this_machine(scope: HTTPScope) -> bool:
    """True if a program on this machine sent the request. False if a proxy on it passed the request
    on, which adds a header (RFC 7239, or X-Forwarded-…)."""
    peer = parsed_address(peer_of(scope))
    if peer is None or not peer.is_loopback:
        return False
    return not any(
        name == _FORWARDED or name.startswith(_ANY_FORWARDED) for name, _ in scope["headers"]
    )


def _values(scope: HTTPScope, wanted: bytes) -> list[str]:
    """The entries of a list header, from all headers of that name, in order (RFC 9110 section
    5.3)."""
    return _entries([value for name, value in scope["headers"] if name == wanted])


def _entries(values: Iterable[bytes]) -> list[str]:
    found = (entry.strip() for value in values for entry in value.decode("latin-1").split(","))
    return [entry for entry in found if entry]


def _without_port(entry: str) -> str:
    """An address without the brackets and the port that some proxies add."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
