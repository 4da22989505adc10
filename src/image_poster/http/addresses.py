"""Addresses of clients: the headers in which proxies pass them on, and the limit of requests by
address.

`X-Forwarded-For` is trusted from `--trusted-proxies` only; any other peer can write any value into
it. `Forwarded` (RFC 7239) is ignored: Caddy and nginx pass on the client's value unchanged.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Any

import structlog
from litestar.types import HTTPScope

from image_poster.ports import RateLimiter

_log = structlog.get_logger()

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORWARDED_FOR, _FORWARDED, _ANY_FORWARDED = b"x-forwarded-for", b"forwarded", b"x-forwarded-"
# A customer has at least that much of IPv6 (RFC 6177), so a person has all addresses in it.
_IPV6_PREFIX = 64
_MAX_CACHED, _MAX_CACHED_BYTES = 4096, 512
# A page shows many images.
_IMAGE_METHODS, _IMAGE = {"GET", "HEAD"}, re.compile(r"/images/[^/]+/[^/]+")
_UPLOAD_METHODS, _UPLOAD = {"PATCH", "HEAD"}, re.compile(r"/uploads/[^/]+")
_UNCOUNTED = "uncounted"


class TrustedProxies:
    """The proxies whose X-Forwarded-… headers are trusted."""

    def __init__(self, networks: tuple[Network, ...] = ()) -> None:
        self._networks = networks
        self._has_warned = False
        # Most requests come from addresses of earlier ones.
        self._cached_client = lru_cache(_MAX_CACHED)(self._client)
        self._is_proxy = lru_cache(_MAX_CACHED)(self._names_proxy)

    def client(self, scope: HTTPScope) -> str:
        """The client's address: the peer's, or, behind proxies, the nearest address in
        `X-Forwarded-For` that is not a proxy's. Empty if the peer has none (AWS)."""
        values = tuple([value for name, value in scope["headers"] if name == _FORWARDED_FOR])
        is_short = sum(map(len, values)) <= _MAX_CACHED_BYTES
        return (self._cached_client if is_short else self._client)(_peer_of(scope), values)

    def have_forwarded(self, scope: HTTPScope) -> bool:
        """True if one of these proxies forwarded the request of another client."""
        if not self._networks or not self._is_proxy(_peer_of(scope)):
            return False
        return any(name == _FORWARDED_FOR for name, _ in scope["headers"])

    def _client(self, peer_text: str, values: tuple[bytes, ...]) -> str:
        peer = _parsed(peer_text)
        if peer is None:
            return ""
        # All headers of that name are one list, in order (RFC 9110 section 5.3).
        entries = [text.strip() for text in b",".join(values).decode("latin-1").split(",")]
        if any(entries) and not self._trusts(peer):
            self._warn(peer)
            return str(peer)
        return str(self._nearest(peer, [entry for entry in entries if entry]))

    def _nearest(self, peer: Address, entries: list[str]) -> Address:
        """The nearest address that is not a proxy's. Each proxy appends the address of its client,
        and the client can write any value before its own address."""
        nearest = peer
        for entry in reversed(entries):
            address = _parsed(_without_port(entry))
            if address is None:
                return nearest
            nearest = address
            if not self._trusts(address):
                return nearest
        return nearest

    def _names_proxy(self, peer: str) -> bool:
        address = _parsed(peer)
        return address is not None and self._trusts(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _warn(self, peer: Address) -> None:
        """Warn once of an untrusted proxy on this machine: all its clients count as one."""
        if peer.is_loopback and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "a proxy on this machine sends X-Forwarded-For, but is not in trusted_proxies: all "
                f"its clients count as one address. If it is your proxy, set --trusted-proxies "
                f"{peer} (IMAGE_POSTER_TRUSTED_PROXIES)"
            )


class AddressLimiter:
    """Counts requests by the client's address, whatever its identity; behind `proxies`, by the
    address that they report."""

    def __init__(self, limiter: RateLimiter, proxies: TrustedProxies) -> None:
        self._limiter = limiter
        self._proxies = proxies

    async def count(self, scope: HTTPScope, method: str) -> None:
        """Count a request of any method, for any path. Raises `RateLimitedError`.

        Images are not counted, as a page shows many. PATCH and HEAD of an upload are counted by
        `count_anonymous` only, as clients abandon an upload at a 429.
        """
        path = scope["path"]
        if method in _IMAGE_METHODS and _IMAGE.fullmatch(path):
            return
        if method in _UPLOAD_METHODS and _UPLOAD.fullmatch(path):
            scope["state"][_UNCOUNTED] = True
            return
        await self._count(scope)

    async def count_anonymous(self, scope: HTTPScope) -> None:
        """Count an upload's request that `count` skipped, because its caller is not identified.
        Raises `RateLimitedError`."""
        if scope["state"].pop(_UNCOUNTED, False):
            await self._count(scope)

    async def _count(self, scope: HTTPScope) -> None:
        address = self._proxies.client(scope)
        if address:  # else the connection has none
            await self._limiter.count(address_group(address))


def networks(entries: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks in `entries`, such as `127.0.0.1` or `10.0.0.0/8`. Raises `ValueError` that
    names the entry."""
    return tuple(map(ipaddress.ip_network, entries))


@lru_cache(_MAX_CACHED)
def address_group(address: str) -> str:
    """The addresses that count as one caller: an IPv4 address, or the /64 of an IPv6 address."""
    parsed = _parsed(address)
    if not isinstance(parsed, ipaddress.IPv6Address):
        return address
    return str(ipaddress.ip_network((int(parsed), _IPV6_PREFIX), strict=False))


def is_from_this_machine(scope: HTTPScope) -> bool:
    """True if a program on this machine sent the request. False if a proxy on it passed the request
    on, which adds a header (RFC 7239, or X-Forwarded-…)."""
    peer = _parsed(_peer_of(scope))
    if peer is None or not peer.is_loopback:
        return False
    return not any(
        name == _FORWARDED or name.startswith(_ANY_FORWARDED) for name, _ in scope["headers"]
    )


def _parsed(text: str) -> Address | None:
    """Parse an address; an IPv4 address written as IPv6 becomes IPv4 (RFC 4291, section
    2.5.5.2)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _peer_of(scope: HTTPScope) -> str:
    """The address of the connection's peer; empty if the server does not know it."""
    client: Any = scope.get("client")
    return client[0] if client else ""


def _without_port(entry: str) -> str:
    """An address without the brackets and the port that some proxies add."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
