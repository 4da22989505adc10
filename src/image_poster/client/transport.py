"""What both clients do with httpx: timeouts, slices, and its errors as `Cut`."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple

import httpx

from image_poster.client.steps import Cut, Reply, Send

# Small enough that progress is smooth and a connection that is silent is noticed.
_SLICE_BYTES = 64 * 1024


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


def base_url(url: str) -> httpx.URL:
    """The address of a service; raises `ValueError` if it is none."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"{url!r} is not a URL: {exc}") from exc
    if found.scheme not in {"http", "https"} or not found.host:
        raise ValueError(f"{url!r} is not an http or https URL, such as http://127.0.0.1:8080")
    return found


def request_of(send: Send, body: Iterator[bytes] | AsyncIterator[bytes], silence: float) -> Request:
    """What httpx takes. Each socket operation has `silence` seconds: that is the watchdog."""
    timeout = httpx.Timeout(silence, read=silence + send.seconds, pool=None)
    if not send.body:
        return Request(send.method, send.path, send.headers, timeout, None)
    headers = {**send.headers, "content-length": str(len(send.body))}
    return Request(send.method, send.path, headers, timeout, body)


def slices(send: Send) -> Iterator[bytes]:
    """The body, telling how far it has come."""
    view = memoryview(send.body)
    for at in range(0, len(view), _SLICE_BYTES):
        yield bytes(view[at : at + _SLICE_BYTES])
        if send.sent is not None:
            send.sent(min(at + _SLICE_BYTES, len(view)))


def reply_of(answer: httpx.Response) -> Reply:
    """The answer, read."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Reply(answer.status_code, headers, answer.content)


def cut_of(url: httpx.URL, error: httpx.TransportError) -> Cut:
    """Why there is no answer."""
    place = f"{url.scheme}://{url.netloc.decode()}"
    if isinstance(error, httpx.ConnectError):
        return Cut(f"{place} cannot be reached: {error}")
    if isinstance(error, httpx.TimeoutException):
        return Cut(f"the connection to {place} went silent")
    return Cut(f"the connection to {place} broke")
