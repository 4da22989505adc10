"""The environment's proxy for one service: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`; `NO_PROXY`
lists exceptions. All may be in small letters.

httpx reads them too, but it builds a connection for each variable. So one unsupported value ends
every call: `socks://…` beside an http proxy, or `[::1]` in `NO_PROXY`. Here only the proxy for this
service counts. (https://github.com/encode/httpx/issues/3221 and 3574)
"""

import ipaddress
import os
import re
from importlib.util import find_spec
from typing import NamedTuple
from urllib.request import getproxies

import httpx

from image_poster.client.results import SettingError

_PORT = re.compile(r":\d*$")


class EnvironmentProxy(NamedTuple):
    """A proxy, and the variable that names it."""

    url: httpx.URL
    variable: str

    def __str__(self) -> str:
        """The proxy as shown to people, without a password."""
        return f"the proxy {self.url.scheme}://{self.url.netloc.decode()} ({self.variable})"


def environment_proxy(service: httpx.URL) -> EnvironmentProxy | None:
    """The proxy for `service`, or None. Raises `SettingError`."""
    proxies = getproxies()
    if _is_exempt(service.host, proxies.get("no", "")):
        return None
    for scheme in (service.scheme, "all"):
        if address := proxies.get(scheme):
            return _checked_proxy(address, _variable(scheme), service.host)
    return None


def _checked_proxy(address: str, variable: str, host: str) -> EnvironmentProxy:
    advice = f"Correct or unset it, or exempt this service: NO_PROXY={host}"
    try:
        url = httpx.URL(address if "://" in address else f"http://{address}")
        url.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as exc:
        raise SettingError(f"{variable} is not the address of a proxy: {exc}. {advice}") from exc
    supported = {"http", "https"} | ({"socks5", "socks5h"} if find_spec("socksio") else set())
    if url.scheme not in supported or not url.host:
        kinds = " or ".join(sorted(supported))
        raise SettingError(
            f"{variable} names a proxy by {url.scheme}://, which this client does not support. "
            f"It needs a proxy by {kinds}. {advice}"
        )
    return EnvironmentProxy(url, variable)


def _variable(scheme: str) -> str:
    """The name of the variable that is set; small letters take precedence."""
    name = f"{scheme}_proxy"
    return name if os.environ.get(name) else name.upper()


def _is_exempt(host: str, exceptions: str) -> bool:
    entries = (entry.strip() for entry in exceptions.lower().split(","))
    return any(entry == "*" or _matches(host.lower(), entry) for entry in entries if entry)


def _matches(host: str, entry: str) -> bool:
    """True if the host matches by address, network, name or domain; an entry's scheme and port are
    ignored."""
    name = entry.rpartition("://")[2]
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = _PORT.sub("", name)
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        domain = name.removeprefix("*").lstrip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
