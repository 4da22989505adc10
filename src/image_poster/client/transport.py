"""The use of httpx by both clients: credentials, requests, and outcomes of `Send` steps."""

import asyncio
import ssl
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

import httpx
import msgspec

from image_poster.client.environment import (
    LazyContext,
    UnusableAuthoritiesError,
    environment_proxy,
)
from image_poster.client.retries import ConnectionFailure, Outcome, Reply, Send

# Small enough that progress is smooth and a connection that is silent is noticed.
_SLICE_BYTES = 64 * 1024
_MAX_SLICE_BYTES, _QUICK_SECONDS = 256 * 1024, 0.1

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
        headers = {name.lower(): value for name, value in response.headers.items()}
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
