"""The use of httpx by both clients: credentials, requests, outcomes of `Send` steps, and the proxy
and certificate authorities of the environment.

`HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` name a proxy; `NO_PROXY` lists exceptions. All may be in
small letters. `SSL_CERT_FILE` and `SSL_CERT_DIR` name authorities.

httpx reads the proxies too, but it builds a connection for each variable. So one unsupported value
ends every call: `socks://…` beside an http proxy, or `[::1]` in `NO_PROXY`. Here only the proxy for
this service counts. (https://github.com/encode/httpx/issues/3221 and 3574)
"""

import asyncio
import ipaddress
import os
import re
import ssl
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import getproxies

import certifi
import httpx
import msgspec

from image_poster.client.results import SettingError
from image_poster.client.retries import BodySink, ConnectionFailure, Outcome, Reply, Send

# Small enough that progress is smooth and a connection that is silent is noticed.
_SLICE_BYTES = 64 * 1024
_MAX_SLICE_BYTES, _QUICK_SECONDS = 256 * 1024, 0.1
_PORT = re.compile(r":\d*$")

Token = str | Callable[[], str]


class _Claims(msgspec.Struct):
    """The token's subject (RFC 7519, section 4.1.2)."""

    sub: str = ""


class Credentials(httpx.Auth):
    """The caller's credentials: a name, or a bearer token. A token function is called at once, and
    again when the service refuses its last token; the request is then repeated."""

    def __init__(self, user: str | None, token: Token | None) -> None:
        self._user = user
        self._source = token if callable(token) else None
        self._token = token() if callable(token) else token

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for httpx's clients."""
        return {"headers": self.headers, "auth": self if self._source else None}

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers of every request: a bearer token (RFC 6750), or a name in UTF-8, as bytes
        since httpx would refuse the text."""
        if self._token:
            return {b"authorization": b"Bearer " + self._token.encode()}
        return {b"user-id": self._user.encode()} if self._user else {}

    @property
    def user(self) -> str | None:
        """The user in the journal: the token's `sub`, or the name."""
        try:
            part = (self._token or "").split(".")[1]
            decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
            return msgspec.json.decode(decoded, type=_Claims).sub or self._user
        except (IndexError, ValueError, RecursionError):
            return self._user

    def renew(self, refused: str | None) -> bool:
        """Ask the token function for a new token, if `refused` is the current one. Return True if
        the token differs from `refused`."""
        if self._source is not None and self._token == refused:
            self._token = self._source()
        return self._token != refused

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._token
        request.headers.update(self.headers)
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED and self.renew(token):
            request.headers.update(self.headers)
            yield request

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As `auth_flow`; the token function runs in a thread."""
        token = self._token
        request.headers.update(self.headers)
        response = yield request
        is_refused = response.status_code == httpx.codes.UNAUTHORIZED
        if is_refused and await asyncio.to_thread(self.renew, token):
            request.headers.update(self.headers)
            yield request


def base_url(url: str) -> httpx.URL:
    """Parse the address of a service; raises `ValueError` if it is invalid."""
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as exc:
        raise ValueError(f"{url!r} is not a URL: {exc}") from exc
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError(f"{url!r} is not an http or https URL, such as http://127.0.0.1:8080")
    return parsed


def origin_of(url: str) -> str:
    """The scheme, host and port of an absolute URL."""
    parsed = base_url(url)
    return f"{parsed.scheme}://{parsed.netloc.decode()}"


def lower_headers(response: httpx.Response) -> dict[str, str]:
    """The headers of a response, with names in lower case."""
    return {name.lower(): value for name, value in response.headers.items()}


def accepts(sink: BodySink, response: httpx.Response) -> bool:
    """Return True if the sink is to receive the body of this response."""
    return sink.accepts(response.status_code, lower_headers(response))


class SlicedBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a request in slices, for both kinds of httpx client. It reports the bytes passed
    on. Slices grow while the network is fast, since each costs CPU time."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def __iter__(self) -> Iterator[bytes]:
        view, offset, size = memoryview(self._send.body), 0, _SLICE_BYTES
        while offset < len(view):
            start = time.monotonic()
            yield bytes(view[offset : offset + size])
            offset = min(offset + size, len(view))
            if self._send.sent is not None:
                self._send.sent(offset)
            is_quick = time.monotonic() - start < _QUICK_SECONDS
            size = min(2 * size, _MAX_SLICE_BYTES) if is_quick else _SLICE_BYTES

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


def build_request(
    http: httpx.Client | httpx.AsyncClient, send: Send, silence: float
) -> httpx.Request:
    """The request for a step. Each socket operation may take `silence` seconds, which detects dead
    connections; the answer may take `send.seconds` more."""
    timeout = httpx.Timeout(silence, read=silence + send.seconds, pool=None)
    request = http.build_request(send.method, send.path, headers=send.headers, timeout=timeout)
    if send.body:
        request.headers["content-length"] = str(len(send.body))
        request.stream = SlicedBody(send)
    return request


class Route:
    """The route to one service: its address, and the proxy from the environment. Raises
    `ValueError` for an invalid `url`, `SettingError` for an unusable proxy."""

    def __init__(self, url: str) -> None:
        self._url = base_url(url)
        self._place = f"{self._url.scheme}://{self._url.netloc.decode()}"
        self._proxy = environment_proxy(self._url)
        self._advice = "Check the address, and that it runs"
        if self._proxy:
            self._advice = f"Check the proxy, or exempt this service: NO_PROXY={self._url.host}"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for httpx's clients, which then read no environment variables themselves."""
        proxy = self._proxy and httpx.Proxy(self._proxy.url)
        verify = LazyContext(ssl.PROTOCOL_TLS_CLIENT)  # TLS 1.2 at least
        return {"base_url": self._url, "verify": verify, "proxy": proxy, "trust_env": False}

    def outcome(self, response: httpx.Response) -> Outcome:
        """Turn an httpx response into a `Reply`; an error from a proxy itself is a
        `ConnectionFailure`. The service, or a proxy in front of it (deploy/), sends a request id or
        a problem."""
        headers = lower_headers(response)
        is_problem = headers.get("content-type", "").startswith("application/problem+json")
        is_from_service = is_problem or "x-request-id" in headers or self._url.scheme == "https"
        if self._proxy and response.is_error and not is_from_service:
            status = f"{response.status_code} {response.reason_phrase}".rstrip()
            reason = f"{self._proxy} answered {status}. {self._advice}"
            return ConnectionFailure(reason, reached=False, permanent=response.is_client_error)
        return Reply(response.status_code, headers, response.content)

    def failure(self, error: httpx.TransportError) -> ConnectionFailure:
        """Turn an httpx error into a `ConnectionFailure`."""
        if reason := self._permanent_reason(error):
            return ConnectionFailure(reason, permanent=True)
        if self._proxy and isinstance(error, httpx.ProxyError):
            reason = f"{self._proxy} refused the connection to {self._place}: {error}"
            is_permanent = str(error).startswith("4")  # the status of the answer to CONNECT
            return ConnectionFailure(
                f"{reason}. {self._advice}", reached=False, permanent=is_permanent
            )
        if isinstance(error, httpx.ConnectError):
            reason = f"{self._proxy or self._place} cannot be reached: {error}. {self._advice}"
            return ConnectionFailure(reason, reached=False)
        if isinstance(error, httpx.TimeoutException):
            return ConnectionFailure(f"the connection to {self._place} timed out")
        return ConnectionFailure(f"the connection to {self._place} broke")

    def _permanent_reason(self, error: httpx.TransportError) -> str | None:
        """The reason of a permanent failure; None if a retry may help."""
        if isinstance(error, UnusableAuthoritiesError):
            return str(error)
        if isinstance(error, httpx.LocalProtocolError):
            return f"the request to {self._place} cannot be sent: {error}"
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            return None
        return (
            f"{self._place} has a certificate that is not trusted: {cause.verify_message}. Check "
            "the address; for an authority of your own, set SSL_CERT_FILE to its certificate"
        )


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
