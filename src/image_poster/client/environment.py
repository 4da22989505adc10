"""The environment of the client: its proxy and its certificate authorities.

`HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` name a proxy; `NO_PROXY` lists exceptions. All may be in
small letters. `SSL_CERT_FILE` and `SSL_CERT_DIR` name authorities.

httpx reads the proxies too, but it builds a connection for each variable. So one unsupported value
ends every call: `socks://…` beside an http proxy, or `[::1]` in `NO_PROXY`. Here only the proxy for
this service counts. (https://github.com/encode/httpx/issues/3221 and 3574)
"""

import ipaddress
import os
import re
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import getproxies

import certifi
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
            name = f"{scheme}_proxy"  # small letters take precedence
            variable = name if os.environ.get(name) else name.upper()
            return EnvironmentProxy(_proxy_url(address, variable, service.host), variable)
    return None


def _proxy_url(address: str, variable: str, host: str) -> httpx.URL:
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
    return url


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


class UnusableAuthoritiesError(httpx.TransportError):
    """The certificates that a variable names cannot be read. (httpx passes this error on
    unchanged.)"""


class LazyContext(ssl.SSLContext):
    """The usual TLS checks, with the authorities loaded at the first check. Loading takes longer
    than a short call, and a call by http needs none."""

    _is_loaded = False

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:  # noqa: ANN401 - ssl's
        self._load()
        return super().wrap_socket(*args, **kwargs)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:  # noqa: ANN401 - ssl's
        self._load()
        return super().wrap_bio(*args, **kwargs)

    def _load(self) -> None:
        """Load the authorities. Raises `UnusableAuthoritiesError`; OpenSSL itself ignores a missing
        folder."""
        if self._is_loaded:
            return
        file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        variable, path = "SSL_CERT_FILE", file
        try:
            if file or not folder:
                self.load_verify_locations(file or certifi.where())
            if folder:
                variable, path = "SSL_CERT_DIR", folder
                next(Path(folder).iterdir(), None)
                self.load_verify_locations(capath=folder)
        except OSError as exc:
            raise UnusableAuthoritiesError(
                f"{variable} names {path}, whose certificates cannot be read: {exc.strerror or exc}"
                ". Correct the variable, or unset it"
            ) from exc
        self._is_loaded = True
