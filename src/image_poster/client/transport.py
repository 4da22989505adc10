"""The use of httpx by both clients: timeouts, slices, and its errors as `ConnectionFailure`."""

import os
import ssl
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import certifi
import httpx
import msgspec

from image_poster.client.proxies import environment_proxy
from image_poster.client.steps import ConnectionFailure, Outcome, Reply, Send

# Small enough that progress is smooth and a connection that is silent is noticed.
_SLICE_BYTES = 64 * 1024
_MAX_SLICE_BYTES, _QUICK_SECONDS = 256 * 1024, 0.1


class Request(NamedTuple):
    """The arguments of httpx's `request`."""

    method: str
    url: str
    headers: Mapping[str, str]
    timeout: httpx.Timeout
    content: Iterator[bytes] | AsyncIterator[bytes] | None


def base_headers(user: str | None, token: str | None) -> dict[bytes, bytes]:
    """The caller's headers: a bearer token (RFC 6750), or a name in UTF-8, as bytes since httpx
    would refuse the text."""
    if token:
        return {b"authorization": b"Bearer " + token.encode()}
    return {b"user-id": user.encode()} if user else {}


Token = str | Callable[[], str]


class _Claims(msgspec.Struct):
    """The token's subject (RFC 7519, section 4.1.2)."""

    sub: str = ""


class Credentials:
    """The caller's credentials: a name, or a bearer token. A token function is called at once, and
    again when the service refuses its last token."""

    def __init__(self, user: str | None, token: Token | None) -> None:
        self._user = user
        self._source = token if callable(token) else None
        self.token = token() if callable(token) else token

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers of every request."""
        return base_headers(self._user, self.token)

    @property
    def user(self) -> str | None:
        """The user in the journal: the token's `sub`, or the name."""
        try:
            part = (self.token or "").split(".")[1]
            decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
            return msgspec.json.decode(decoded, type=_Claims).sub or self._user
        except (IndexError, ValueError, RecursionError):
            return self._user

    def renew(self, refused: str | None) -> bool:
        """Ask the token function for a new token, if `refused` is the current one. Return True if
        the token differs from `refused`."""
        if self._source is not None and self.token == refused:
            self.token = self._source()
        return self.token != refused


def is_unauthorized(outcome: Outcome) -> bool:
    """Return True if the service refuses the caller's credentials (RFC 9110, section 15.5.2)."""
    return isinstance(outcome, Reply) and outcome.status == httpx.codes.UNAUTHORIZED


class Route:
    """The route to one service: its address, and the proxy from the environment. Raises
    `ValueError` for an invalid `url`, `SettingError` for an unusable proxy."""

    def __init__(self, url: str) -> None:
        self.url = base_url(url)
        self.proxy = environment_proxy(self.url)

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for httpx's clients, which then read no environment variables themselves."""
        proxy = self.proxy and httpx.Proxy(self.proxy.url)
        verify = lazy_context()
        return {"base_url": self.url, "verify": verify, "proxy": proxy, "trust_env": False}


def base_url(url: str) -> httpx.URL:
    """Parse the address of a service; raises `ValueError` if it is invalid."""
    try:
        found = httpx.URL(url)
        found.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as exc:
        raise ValueError(f"{url!r} is not a URL: {exc}") from exc
    if found.scheme not in {"http", "https"} or not found.host:
        raise ValueError(f"{url!r} is not an http or https URL, such as http://127.0.0.1:8080")
    return found


class UnusableAuthoritiesError(httpx.TransportError):
    """The certificates that a variable names cannot be read. (httpx passes this error on
    unchanged.)"""


class LazyContext(ssl.SSLContext):
    """The usual TLS checks, with the authorities loaded at the first check. Loading takes longer
    than a short call, and a call by http needs none."""

    _is_loaded = False

    def wrap_socket(self, *given: Any, **named: Any) -> ssl.SSLSocket:  # noqa: ANN401 - ssl's
        self._load()
        return super().wrap_socket(*given, **named)

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401 - ssl's
        self._load()
        return super().wrap_bio(*given, **named)

    def _load(self) -> None:
        if self._is_loaded:
            return
        file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        if file:
            self._load_from("SSL_CERT_FILE", file)
        if folder:
            self._load_from("SSL_CERT_DIR", folder)
        if not (file or folder):
            self.load_verify_locations(certifi.where())
        self._is_loaded = True

    def _load_from(self, variable: str, path: str) -> None:
        """Load a file or folder. Raises `UnusableAuthoritiesError`; OpenSSL itself ignores a
        missing folder."""
        try:
            if variable == "SSL_CERT_DIR":
                next(Path(path).iterdir(), None)
                self.load_verify_locations(capath=path)
            else:
                self.load_verify_locations(path)
        except OSError as exc:
            raise UnusableAuthoritiesError(
                f"{variable} names {path}, whose certificates cannot be read: {exc.strerror or exc}"
                ". Correct the variable, or unset it"
            ) from exc


def lazy_context() -> LazyContext:
    """A context for a client (TLS 1.2 at least, certificates and names checked)."""
    return LazyContext(ssl.PROTOCOL_TLS_CLIENT)


def request_of(send: Send, body: Iterator[bytes] | AsyncIterator[bytes], silence: float) -> Request:
    """The arguments for httpx. Each socket operation may take `silence` seconds, which detects dead
    connections; the answer may take `send.seconds` more."""
    timeout = httpx.Timeout(silence, read=silence + send.seconds, pool=None)
    if not send.body:
        return Request(send.method, send.path, send.headers, timeout, None)
    headers = {**send.headers, "content-length": str(len(send.body))}
    return Request(send.method, send.path, headers, timeout, body)


def slices(send: Send) -> Iterator[bytes]:
    """Yield the body in slices, and report the bytes passed on. Slices grow while the network is
    fast, since each costs CPU time."""
    view, at, size = memoryview(send.body), 0, _SLICE_BYTES
    while at < len(view):
        began = time.monotonic()
        yield bytes(view[at : at + size])
        at = min(at + size, len(view))
        if send.sent is not None:
            send.sent(at)
        is_quick = time.monotonic() - began < _QUICK_SECONDS
        size = min(2 * size, _MAX_SLICE_BYTES) if is_quick else _SLICE_BYTES


def outcome_of(route: Route, answer: httpx.Response) -> Outcome:
    """Turn an httpx answer into a `Reply`; an error from a proxy itself is a
    `ConnectionFailure`."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    if route.proxy and answer.is_error and route.url.scheme == "http" and not _is_ours(headers):
        reason = f"{route.proxy} answered {answer.status_code} {answer.reason_phrase}".rstrip()
        permanent = answer.is_client_error
        return ConnectionFailure(
            f"{reason}. {_proxy_advice(route)}", reached=False, permanent=permanent
        )
    return Reply(answer.status_code, headers, answer.content)


def _is_ours(headers: Mapping[str, str]) -> bool:
    """Return True if a service answered, or a proxy in front of it (deploy/)."""
    is_problem = headers.get("content-type", "").startswith("application/problem+json")
    return is_problem or "x-request-id" in headers


def _proxy_advice(route: Route) -> str:
    return f"Check the proxy, or exempt this service: NO_PROXY={route.url.host}"


def cut_of(route: Route, error: httpx.TransportError) -> ConnectionFailure:
    """Turn an httpx error into a `ConnectionFailure`."""
    place = f"{route.url.scheme}://{route.url.netloc.decode()}"
    if reason := _lasting_reason(place, error):
        return ConnectionFailure(reason, permanent=True)
    if route.proxy and isinstance(error, httpx.ProxyError):
        refused = f"{route.proxy} refused the connection to {place}: {error}"
        is_lasting = str(error).startswith("4")  # the status, of the proxy's answer to CONNECT
        return ConnectionFailure(
            f"{refused}. {_proxy_advice(route)}", reached=False, permanent=is_lasting
        )
    if isinstance(error, httpx.ConnectError):
        peer = route.proxy or place
        advice = _proxy_advice(route) if route.proxy else "Check the address, and that it runs"
        return ConnectionFailure(f"{peer} cannot be reached: {error}. {advice}", reached=False)
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailure(f"the connection to {place} went silent")
    return ConnectionFailure(f"the connection to {place} broke")


def _lasting_reason(place: str, error: httpx.TransportError) -> str | None:
    """The reason of a permanent failure; None if a retry may help."""
    if isinstance(error, UnusableAuthoritiesError):
        return str(error)
    if isinstance(error, httpx.LocalProtocolError):
        return f"the request to {place} cannot be sent: {error}"
    if (distrust := _distrust(error)) is not None:
        return (
            f"{place} has a certificate that is not trusted: {distrust.verify_message}. Check the "
            "address; for an authority of your own, set SSL_CERT_FILE to its certificate"
        )
    return None


def _distrust(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The certificate error that caused an error of httpx; None if there is none."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLCertVerificationError):
        found = found.__cause__ or found.__context__
    return found
