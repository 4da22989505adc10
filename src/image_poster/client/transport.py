"""What both clients do with httpx: timeouts, slices, and its errors as `Cut`."""

import os
import ssl
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, NamedTuple

import certifi
import httpx
import msgspec

from image_poster.client.steps import Cut, Outcome, Reply, Send

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
    """Who calls: by a bearer token (RFC 6750), or by name, as UTF-8, which httpx would refuse as
    text."""
    if token:
        return {b"authorization": b"Bearer " + token.encode()}
    return {b"user-id": user.encode()} if user else {}


Token = str | Callable[[], str]


class _Claims(msgspec.Struct):
    """RFC 7519, section 4.1.2."""

    sub: str = ""


class Credentials:
    """Who calls: by name, or by a bearer token. A token that is a function is asked for at once,
    and again when the service refuses the one that it gave."""

    def __init__(self, user: str | None, token: Token | None) -> None:
        self._user = user
        self._source = token if callable(token) else None
        self.token = token() if callable(token) else token

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Those of every request."""
        return base_headers(self._user, self.token)

    @property
    def user(self) -> str | None:
        """Whose uploads are remembered: by name, or by the token's `sub`."""
        try:
            part = (self.token or "").split(".")[1]
            decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
            return msgspec.json.decode(decoded, type=_Claims).sub or self._user
        except (IndexError, ValueError):
            return self._user

    def renew(self, refused: str | None) -> bool:
        """Whether there is another token now than the one that was refused."""
        if self._source is not None and self.token == refused:
            self.token = self._source()
        return self.token != refused


def is_unauthorized(outcome: Outcome) -> bool:
    """Whether the service does not take who is said to call (RFC 9110, section 15.5.2)."""
    return isinstance(outcome, Reply) and outcome.status == httpx.codes.UNAUTHORIZED


def base_url(url: str) -> httpx.URL:
    """The address of a service; raises `ValueError` if it is none."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"{url!r} is not a URL: {exc}") from exc
    if found.scheme not in {"http", "https"} or not found.host:
        raise ValueError(f"{url!r} is not an http or https URL, such as http://127.0.0.1:8080")
    return found


class LazyContext(ssl.SSLContext):
    """The usual checks of certificates, whose authorities are read when the first is checked: that
    takes longer than a short call, and a call by http needs none."""

    _is_loaded = False

    def wrap_socket(self, *given: Any, **named: Any) -> ssl.SSLSocket:  # noqa: ANN401 - ssl's
        self._load()
        return super().wrap_socket(*given, **named)

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401 - ssl's
        self._load()
        return super().wrap_bio(*given, **named)

    def _load(self) -> None:
        if not self._is_loaded:
            self._is_loaded = True
            file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
            ours = file or folder
            self.load_verify_locations(file if ours else certifi.where(), folder)


def lazy_context() -> LazyContext:
    """For a client (TLS 1.2 at least, certificates and names checked)."""
    return LazyContext(ssl.PROTOCOL_TLS_CLIENT)


def request_of(send: Send, body: Iterator[bytes] | AsyncIterator[bytes], silence: float) -> Request:
    """What httpx takes. Each socket operation has `silence` seconds: that is the watchdog."""
    timeout = httpx.Timeout(silence, read=silence + send.seconds, pool=None)
    if not send.body:
        return Request(send.method, send.path, send.headers, timeout, None)
    headers = {**send.headers, "content-length": str(len(send.body))}
    return Request(send.method, send.path, headers, timeout, body)


def slices(send: Send) -> Iterator[bytes]:
    """The body, telling how far it has come; in larger slices while the network is quick to take
    them, since each costs time of ours."""
    view, at, size = memoryview(send.body), 0, _SLICE_BYTES
    while at < len(view):
        began = time.monotonic()
        yield bytes(view[at : at + size])
        at = min(at + size, len(view))
        if send.sent is not None:
            send.sent(at)
        is_quick = time.monotonic() - began < _QUICK_SECONDS
        size = min(2 * size, _MAX_SLICE_BYTES) if is_quick else _SLICE_BYTES


def reply_of(answer: httpx.Response) -> Reply:
    """The answer, read."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Reply(answer.status_code, headers, answer.content)


def cut_of(url: httpx.URL, error: httpx.TransportError) -> Cut:
    """Why there is no answer."""
    place = f"{url.scheme}://{url.netloc.decode()}"
    if (distrust := _distrust(error)) is not None:
        return Cut(
            f"{place} has a certificate that is not trusted: {distrust.verify_message}. Check the "
            "address; for an authority of your own, set SSL_CERT_FILE to its certificate",
            lasting=True,
        )
    if isinstance(error, httpx.ConnectError):
        reason = f"{place} cannot be reached: {error}. Check the address, and that it runs"
        return Cut(reason, reached=False)
    if isinstance(error, httpx.TimeoutException):
        return Cut(f"the connection to {place} went silent")
    return Cut(f"the connection to {place} broke")


def _distrust(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate that is behind an error of httpx."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLCertVerificationError):
        found = found.__cause__ or found.__context__
    return found
