"""The middleware around every request: request id, Host check, CORS, HEAD, measurement, and the
clean end of requests whose body is not read."""

import asyncio
import itertools
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from time import perf_counter
from typing import Any, NamedTuple, cast

import structlog
from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    HTTPScope,
    Message,
    Receive,
    Scope,
    Send,
)

from image_poster.domain.errors import (
    BodySilentError,
    BusyError,
    HostNotAllowedError,
    ImagePosterError,
    RateLimitedError,
)
from image_poster.http.cors import Cors, Headers
from image_poster.http.encodings import Compressor
from image_poster.http.limits import AddressLimiter
from image_poster.http.problems import MEDIA_TYPE, problem_body, retry_headers
from image_poster.http.public_url import PublicUrl
from image_poster.http.shape import ResponseEncoder
from image_poster.http.slow_clients import (
    ReaderGoneError,
    Readers,
    receive_within,
    silent_seconds,
)

_log = structlog.get_logger()

# With the characters of Base64, in which API Gateway writes its own.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")
_LOOPBACK_HOST = re.compile(rb"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)
_DRAIN_SECONDS = 10
_LAST_DRAIN_SECONDS = 0.5
_MAX_DRAIN_BYTES, _MAX_GONE_DRAIN_BYTES = 64 * 1024 * 1024, 1024 * 1024
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_OVERRIDES = {"PATCH", "DELETE", "HEAD"}
_WHOLE_SERVER = "*"
_ALLOWED_SOMEWHERE = [(b"allow", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")]
# Unique across restarts and processes by its random part, and much cheaper than an id each.
_process = os.urandom(6).hex()
_count = itertools.count(1)


def _new_request_id() -> str:
    return f"{_process}-{next(_count):x}"


def is_loopback_host(host: bytes) -> bool:
    """True if a Host header names this machine. Any other name may be an attacker's that resolves
    to it (DNS rebinding)."""
    return _LOOPBACK_HOST.fullmatch(host) is not None


class MeasuredRequest(NamedTuple):
    """A request, its route's template, its response, the time in seconds, and the limit that
    refused it, if any."""

    method: str
    route: str
    path: str
    status: int
    seconds: float
    limit: str | None = None


Observer = Callable[[MeasuredRequest], None]


def log_access(measured: MeasuredRequest) -> None:
    """Log a line for each request."""
    _log.info(
        "request",
        method=measured.method,
        path=measured.path,
        status=measured.status,
        ms=round(measured.seconds * 1000, 2),
    )


class Middleware:
    """ASGI middleware around the whole app. `loopback_only` checks the Host header, and `observers`
    are called after each response. `cors` has the rules for pages of other origins, `addresses` the
    rate limit by address, and `public_url` the service's URL."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        loopback_only: bool,
        observers: Sequence[Observer],
        cors: Cors,
        addresses: AddressLimiter | None = None,
        public_url: PublicUrl | None = None,
    ) -> None:
        self._app = app
        self._shape = ResponseEncoder(public_url or PublicUrl(), Compressor(), cors)
        self._addresses = addresses
        self._loopback_only = loopback_only
        self._observers = observers
        self._under_way: dict[asyncio.Task[Any], _Exchange] = {}
        self._is_stopping = False
        self._readers = Readers()

    def end_unfinished(self) -> None:
        """Stop the service: requests whose response has not begun end with a 503, even in the
        middle of a body. A resumable upload keeps its bytes."""
        self._is_stopping = True
        for task, exchange in self._under_way.items():
            if not exchange.has_begun:
                task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        self._shape.public_url.strip(scope)
        exchange = _Exchange(scope, receive, send, self._shape, self._readers)
        try:
            await self._answer(exchange)
        except Exception as exc:
            if not exchange.reader_is_gone:
                raise
            _log.info("an answer was not read", path=scope["path"])
            raise ReaderGoneError from exc  # whatever became of that in the app
        finally:
            measured = exchange.measured()
            for observe in self._observers:
                observe(measured)
        await exchange.drain(_LAST_DRAIN_SECONDS if self._is_stopping else _DRAIN_SECONDS)

    async def _answer(self, exchange: "_Exchange") -> None:
        if self._loopback_only and not is_loopback_host(exchange.header(b"host")):
            await exchange.refuse(HostNotAllowedError())
        elif (preflight := exchange.preflight()) is not None:
            await exchange.answer(HTTPStatus.NO_CONTENT, preflight)
        elif (limited := await self._too_many(exchange)) is not None:
            await exchange.refuse(limited)
        elif exchange.method == "OPTIONS" and exchange.scope["path"] == _WHOLE_SERVER:
            await exchange.answer(HTTPStatus.NO_CONTENT, _ALLOWED_SOMEWHERE)  # RFC 9110 9.3.7
        elif not await self._finishes(exchange):
            await exchange.refuse(BusyError("The service is stopping. Try again in a moment."))

    async def _finishes(self, exchange: "_Exchange") -> bool:
        """Call the app; False if `end_unfinished` cancelled the request before its response
        began."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._under_way[task] = exchange
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            if not self._is_stopping or exchange.has_begun:
                raise
            task.uncancel()
            return False
        finally:
            del self._under_way[task]
        return True

    async def _too_many(self, exchange: "_Exchange") -> RateLimitedError | None:
        """Count the request; the error if it is over the limit. Preflights are not counted: they
        cost nothing, and a page could not read a 429 to one."""
        if self._addresses is None:
            return None
        try:
            await self._addresses.count(exchange.scope, exchange.method)
        except RateLimitedError as limited:
            return limited
        return None


class _Exchange:
    """One request and its response."""

    def __init__(
        self,
        scope: HTTPScope,
        receive: Receive,
        send: Send,
        shape: ResponseEncoder,
        readers: Readers,
    ) -> None:
        self.scope = scope
        self._readers = readers
        self._shape = shape
        self._start: HTTPResponseStartEvent | None = None
        self._receive = receive
        self._send = send
        self._started = perf_counter()
        self._status = 0
        self._headers = dict(scope["headers"])
        self.method = scope["method"]
        self._is_head = self.method == "HEAD"
        self._override_method()
        self._is_silent = False
        self.reader_is_gone = False
        self._body_done = not self._announces_body()
        self.request_id = self._identify()
        if self._is_head:
            scope["state"]["is_head"] = True
            scope["method"] = "GET"  # RFC 9110 section 9.3.2: as GET, without the content

    def _announces_body(self) -> bool:
        """True if a body follows (RFC 9112 section 6.3). Some clients send `Content-Length: 0` with
        every request: there is no body to read, and the connection stays open."""
        if b"transfer-encoding" in self._headers:
            return True
        return self.header(b"content-length").strip(b"0") != b""

    def _override_method(self) -> None:
        """Apply X-HTTP-Method-Override (tus 1.0.0, Core), for clients whose network allows only GET
        and POST."""
        offered = self.header(b"x-http-method-override")
        if not offered or self.method != "POST":
            return
        wanted = offered.decode("latin-1").upper()
        if wanted in _OVERRIDES:
            self.method = self.scope["method"] = cast("Any", wanted)
            self._is_head = wanted == "HEAD"

    def _identify(self) -> str:
        offered = self.header(b"x-request-id")
        known = offered.decode() if _REQUEST_ID.fullmatch(offered) else _new_request_id()
        self.scope.setdefault("state", {})["request_id"] = known
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=known)
        return known

    @property
    def has_begun(self) -> bool:
        """True if a part of the response has been sent."""
        return self._status > 0

    def header(self, name: bytes) -> bytes:
        """A request header; empty if there is none."""
        return self._headers.get(name, b"")

    async def receive(self) -> HTTPReceiveMessage:
        try:
            message = await receive_within(
                self._receive, silent_seconds(self.method, self.scope["path"])
            )
        except BodySilentError:
            self._is_silent = True
            raise
        if message["type"] == "http.disconnect" or not message["more_body"]:
            self._body_done = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._start = message["status"], message
            return  # until the body has told whether it is compressed
        try:
            if message["type"] == "http.response.body":
                await self._send_start(message)
                if self._is_head:
                    message["body"] = b""
            await self._readers.send(self._send, message)
        except ReaderGoneError:
            self.reader_is_gone = True
            raise

    async def _send_start(self, first: HTTPResponseBodyEvent) -> None:
        """Send status and headers; encode a response that has one chunk."""
        start, self._start = self._start, None
        if start is None:
            return
        headers = self._shape.public_url.headers([*start["headers"]])
        if not first["more_body"]:
            accepted = self.header(b"accept-encoding").decode("latin-1")
            headers, first["body"] = await self._shape.body(headers, first["body"], accepted)
        start["headers"] = [*headers, *self._own_headers()]
        await self._readers.send(self._send, start)

    def _own_headers(self) -> Headers:
        own = self._shape.cors.headers(self._headers)
        own.append((b"x-request-id", self.request_id.encode()))
        own.append((b"x-content-type-options", b"nosniff"))
        if not self._body_done:
            own.append((b"connection", b"close"))
        return own

    async def refuse(self, error: ImagePosterError) -> None:
        """Send an error's response without calling the app."""
        body = problem_body(error, self.request_id)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        headers += [(name.encode(), value.encode()) for name, value in retry_headers(error).items()]
        if isinstance(error, RateLimitedError):
            self.scope["state"]["limit"] = error.limit
        await self.answer(error.status, headers, body)

    def preflight(self) -> Headers | None:
        """The headers of the response to a CORS preflight; None if this is not one."""
        return self._shape.cors.preflight(self.method, self._headers)

    async def answer(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a complete response."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def drain(self, seconds: float) -> None:
        """After an early refusal, read and discard the rest of the body for a limited time. Closing
        at once would reset the connection, and many clients would not see the response (RFC 9112
        section 9.6). After a reset, a client of an aborted upload asks for its offset."""
        if self._body_done or self._is_silent:
            return
        is_upload = self.method == "PATCH" and self._status in _GONE
        size, most = 0, _MAX_GONE_DRAIN_BYTES if is_upload else _MAX_DRAIN_BYTES
        try:
            async with asyncio.timeout(seconds):
                while not self._body_done:
                    size += len(cast("dict[str, Any]", await self.receive()).get("body", b""))
                    if size > most:
                        break
        except TimeoutError:
            pass
        if not self._body_done:
            _log.info("stopped reading a refused body", path=self.scope["path"])
        count = self.scope["state"].get("count_unread_body")
        # The client is not to blame for the service's own trouble.
        if count is not None and size and self._status < HTTPStatus.INTERNAL_SERVER_ERROR:
            with suppress(ImagePosterError):
                await count(size)

    def measured(self) -> MeasuredRequest:
        """The request with its route's template and its path."""
        return MeasuredRequest(
            method=self.method,
            route=self.scope.get("path_template", "none"),
            path=self.scope["path"],
            status=self._status,
            seconds=perf_counter() - self._started,
            limit=self.scope["state"].get("limit"),
        )
