"""Requests to servers that this service does not trust: an issuer of tokens, or a receiver of
webhooks. A deadline bounds the whole exchange, however slowly the server sends. Redirects are
errors."""

import functools
import threading
import time
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from io import BufferedReader, RawIOBase
from socket import socket
from typing import Any
from urllib.parse import urlsplit
from urllib.request import (
    AbstractHTTPHandler,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
    build_opener,
)

_CONNECT_SECONDS = 5
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# `deadline` is the end of the thread's exchange, by `time.monotonic`.
_thread = threading.local()


def is_loopback_url(url: str) -> bool:
    """True if the URL names the loopback interface."""
    return urlsplit(url).hostname in _LOOPBACK


def check_url(url: str) -> None:
    """Require https, except on the loopback interface, and no user or password, which urllib would
    take for a part of the host. Raises `ValueError`."""
    place = urlsplit(url)
    is_here = place.scheme == "http" and place.hostname in _LOOPBACK
    is_allowed = place.hostname and "@" not in place.netloc
    if not (is_allowed and (place.scheme == "https" or is_here)):
        raise ValueError(f"{url} is no https URL")


def bounded_opener(seconds: float) -> OpenerDirector:
    """An opener like that of `urlopen`, with the environment's proxies, but without redirects. All
    its requests together, in this thread, may take `seconds`; after that they raise
    `TimeoutError`."""
    _thread.deadline = time.monotonic() + seconds
    return _new_opener()


def open_within(request: Request, seconds: float) -> Any:  # noqa: ANN401 - as OpenerDirector.open
    """The response to one request, by an opener as `bounded_opener` makes it. That one is made once
    for all threads, since to make it costs more than a request."""
    _thread.deadline = time.monotonic() + seconds
    return _shared_opener().open(request)


@functools.cache
def _shared_opener() -> OpenerDirector:
    return _new_opener()


def _new_opener() -> OpenerDirector:
    return build_opener(_DeadlineHttpHandler(), _DeadlineHttpsHandler(), _NoRedirects())


class _NoRedirects(HTTPRedirectHandler):
    """Makes a redirect an error: the answer must come from the address that was checked."""

    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401 - as the base class
        return None


class _DeadlineHandler(AbstractHTTPHandler):
    """Opens connections that end at the thread's deadline, even if the server sends slowly."""

    def do_open(self, http_class: Any, req: Any, **more: Any) -> HTTPResponse:  # noqa: ANN401 - as the base class
        deadline: float = _thread.deadline

        def connection(host: str, **options: Any) -> HTTPConnection:  # noqa: ANN401
            options["timeout"] = min(_CONNECT_SECONDS, _seconds_left(deadline))
            opened: HTTPConnection = http_class(host, **options)
            opened.response_class = partial(_response, deadline)  # type: ignore[assignment]
            return opened

        return super().do_open(connection, req, **more)


class _DeadlineHttpHandler(_DeadlineHandler, HTTPHandler): ...


class _DeadlineHttpsHandler(_DeadlineHandler, HTTPSHandler): ...


class _DeadlineReader(RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, connection: socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._raw = connection.makefile("rb", buffering=0)

    def makefile(self, _mode: str) -> BufferedReader:
        return BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - as the base class
        self._connection.settimeout(_seconds_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _response(deadline: float, connection: socket, **more: Any) -> HTTPResponse:  # noqa: ANN401
    return HTTPResponse(_DeadlineReader(connection, deadline), **more)  # type: ignore[arg-type]


def _seconds_left(deadline: float) -> float:
    """The seconds until the deadline. Raises `TimeoutError` after it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    return left
