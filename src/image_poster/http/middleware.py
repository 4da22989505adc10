"""The middleware around every request: request id, Host check, CORS, HEAD, and measurement. It also
has the fast path, and ends requests cleanly whose body is not read."""

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
from litestar import Response
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send

from image_poster.domain.errors import (
    BusyError,
    HostNotAllowedError,
    ImagePosterError,
    RateLimitedError,
)
from image_poster.http.addresses import AddressLimiter
from image_poster.http.encoding import Cors, PublicUrl, RawHeaders, ResponseEncoder
from image_poster.http.problems import MEDIA_TYPE, problem_body, problem_headers
from image_poster.http.requests import RequestBody
from image_poster.http.responses import (
    CHUNK_BYTES,
    FastRequest,
    FastRoute,
    PendingResponses,
    ReaderGoneError,
)

_log = structlog.get_logger()

# With the characters of Base64, in which API Gateway writes its own.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")
# Any other name may be an attacker's that resolves to this machine (DNS rebinding).
_LOOPBACK_HOST = re.compile(rb"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)
_SILENT_SECONDS, _SILENT_UPLOAD_SECONDS = 30, 60
_DRAIN_SECONDS, _LAST_DRAIN_SECONDS = 10, 0.5
_MAX_DRAIN_BYTES, _MAX_GONE_DRAIN_BYTES = 64 * 1024 * 1024, 1024 * 1024
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_OVERRIDES = {"PATCH", "DELETE", "HEAD"}
_WHOLE_SERVER = "*"
_ALLOWED_SOMEWHERE = [(b"allow", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")]
# Unique across restarts and processes by its random part, and much cheaper than an id each.
_process = os.urandom(6).hex()
_count = itertools.count(1)


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
    rate limit by address, and `public_url` the service's URL. `fast_routes` are tried before
    `app`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        loopback_only: bool,
        observers: Sequence[Observer],
        cors: Cors,
        addresses: AddressLimiter | None = None,
        public_url: PublicUrl | None = None,
        fast_routes: Sequence[FastRoute] = (),
    ) -> None:
        self._app = app
        self._public_url = public_url or PublicUrl()
        self._cors = cors
        self._encoder = ResponseEncoder(self._public_url, cors)
        self._addresses = addresses
        self._loopback_only = loopback_only
        self._observers = observers
        self._fast_routes = fast_routes
        self._running: dict[asyncio.Task[Any], _Exchange] = {}
        self._is_stopping = False
        self._pending = PendingResponses()

    def end_unfinished(self) -> None:
        """Stop the service: requests whose response has not begun end with a 503, even in the
        middle of a body. A resumable upload keeps its bytes."""
        self._is_stopping = True
        for task, exchange in self._running.items():
            if not exchange.status:
                task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        if self._public_url.path:
            self._public_url.strip(scope)
        exchange = _Exchange(scope, receive, send, self._encoder, self._pending)
        try:
            await self._answer(exchange)
        except Exception as exc:
            if not exchange.reader_is_gone:
                raise
            _log.info("a client did not read its response", path=scope["path"])
            raise ReaderGoneError from exc  # whatever the app raised because of that
        finally:
            measured = exchange.measured()
            for observe in self._observers:
                observe(measured)
        if not exchange.body.is_complete and not exchange.body.is_silent:
            await exchange.drain(_LAST_DRAIN_SECONDS if self._is_stopping else _DRAIN_SECONDS)

    async def _answer(self, exchange: "_Exchange") -> None:
        try:
            await self._respond(exchange)
        except ImagePosterError as refusal:
            if exchange.status:
                raise
            await exchange.refuse(refusal)

    async def _respond(self, exchange: "_Exchange") -> None:
        """Check the request, then respond, or let the app respond. Raises `HostNotAllowedError`,
        `RateLimitedError`, and `BusyError` when the service stops.

        Preflights are not counted: they cost nothing, and a page could not read a 429 to one.
        """
        is_options = exchange.method == "OPTIONS"
        host = exchange.headers.get(b"host", b"")
        if self._loopback_only and not _LOOPBACK_HOST.fullmatch(host):
            raise HostNotAllowedError
        if is_options and (preflight := self._cors.preflight(exchange.headers)) is not None:
            await exchange.respond(HTTPStatus.NO_CONTENT, preflight)
            return
        if self._addresses is not None:
            await self._addresses.count(exchange.scope, exchange.method)
        if is_options and exchange.scope["path"] == _WHOLE_SERVER:
            await exchange.respond(HTTPStatus.NO_CONTENT, _ALLOWED_SOMEWHERE)  # RFC 9110 9.3.7
            return
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._running[task] = exchange
        try:
            if (response := await self._fast_response(exchange)) is not None:
                await exchange.send_response(response)
            else:
                await self._app(exchange.scope, exchange.body.receive, exchange.send)
        except asyncio.CancelledError as exc:
            if not self._is_stopping or exchange.status:
                raise
            task.uncancel()
            raise BusyError("The service is stopping. Try again in a moment.") from exc
        finally:
            del self._running[task]

    async def _fast_response(self, exchange: "_Exchange") -> Response[bytes] | None:
        """The response of a fast route; None if there is none for the request."""
        if exchange.method != "GET":
            return None
        scope = exchange.scope
        for route in self._fast_routes:
            match = route.pattern.fullmatch(scope["path"])
            if match is not None:
                scope["path_template"] = route.template
                request = FastRequest(scope, exchange.headers, match.groups())
                try:
                    return await route.answer(request)
                except Exception:  # noqa: BLE001 - Litestar meets it again, and renders or logs it
                    return None
        return None


class _Exchange:
    """One request and its response; `status` is 0 until a part of the response has been sent."""

    def __init__(
        self,
        scope: HTTPScope,
        receive: Receive,
        send: Send,
        encoder: ResponseEncoder,
        pending: PendingResponses,
    ) -> None:
        self.scope = scope
        self.headers = dict(scope["headers"])
        self.method = _method(scope, self.headers)
        self.status = 0
        self.reader_is_gone = False
        self._send = send
        self._encoder = encoder
        self._pending = pending
        self._start: HTTPResponseStartEvent | None = None
        self._started = perf_counter()
        self.body = RequestBody(receive, silent_seconds(self.method, scope["path"]), self.headers)
        self._state = scope.setdefault("state", {})
        self._state["body"] = self.body
        self._request_id = self.headers.get(b"x-request-id", b"")
        if not _REQUEST_ID.fullmatch(self._request_id):
            self._request_id = f"{_process}-{next(_count):x}".encode()
        self._state["request_id"] = self._request_id.decode()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=self._state["request_id"])
        if self.method == "HEAD":
            self._state["is_head"] = True
            scope["method"] = "GET"  # RFC 9110 section 9.3.2: as GET, without the content

    async def send(self, message: Message) -> None:
        """Send a message of the app. The response's start waits for its body, which tells whether
        it is compressed."""
        if message["type"] == "http.response.start":
            self.status, self._start = message["status"], message
        elif message["type"] == "http.response.body":
            await self._send_body(message["body"], more=message["more_body"])

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        start, self._start = self._start, None
        if start is not None:
            headers = [*start["headers"]]
            body = await self._send_start(start["status"], headers, body, is_whole=not more)
        await self._send_chunk(body, more=more)

    async def _send_start(
        self, status: int, headers: RawHeaders, body: bytes, *, is_whole: bool
    ) -> bytes:
        """Send status and headers; return the encoded body."""
        headers, body = await self._encoder.encode(self.headers, headers, body, is_whole=is_whole)
        headers.append((b"x-request-id", self._request_id))
        headers.append((b"x-content-type-options", b"nosniff"))
        if not self.body.is_complete:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        return body

    async def _send_chunk(self, body: bytes, *, more: bool) -> None:
        body = b"" if self.method == "HEAD" else body
        message: Any = {"type": "http.response.body", "body": body, "more_body": more}
        if not more and len(body) <= CHUNK_BYTES:
            await self._send(message)
            return
        try:
            await self._pending.send(self._send, message)
        except ReaderGoneError:
            self.reader_is_gone = True
            raise

    async def respond(self, status: int, headers: RawHeaders, body: bytes = b"") -> None:
        """Send a complete response."""
        self.status = status
        body = await self._send_start(status, headers, body, is_whole=True)
        await self._send_chunk(body, more=False)

    async def send_response(self, response: Response[bytes]) -> None:
        """Send a response of a fast route."""
        status, body = response.status_code or HTTPStatus.OK, response.content
        headers = [
            (name.encode(), text.encode("latin-1")) for name, text in response.headers.items()
        ]
        if status != HTTPStatus.NOT_MODIFIED:
            headers.append((b"content-type", str(response.media_type).encode()))
            headers.append((b"content-length", b"%d" % len(body)))
        await self.respond(status, headers, body)

    async def refuse(self, error: ImagePosterError) -> None:
        """Send an error's response without calling the app."""
        body = problem_body(error, self._state["request_id"])
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        headers += [(name.encode(), text.encode()) for name, text in problem_headers(error).items()]
        if isinstance(error, RateLimitedError):
            self._state["limit"] = error.limit
        await self.respond(error.status, headers, body)

    async def drain(self, seconds: float) -> None:
        """After an early refusal, read and discard the rest of the body for a limited time. Closing
        at once would reset the connection, and many clients would not see the response (RFC 9112
        section 9.6). After a reset, a client of an aborted upload asks for its offset."""
        is_gone = self.method == "PATCH" and self.status in _GONE
        most = _MAX_GONE_DRAIN_BYTES if is_gone else _MAX_DRAIN_BYTES
        size = await self.body.drain(seconds, most)
        if not self.body.is_complete:
            _log.info("stopped reading the body of a refused request", path=self.scope["path"])
        count = self._state.get("count_unread_body")
        # The client is not to blame for the service's own trouble.
        if count is not None and size and self.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            with suppress(ImagePosterError):
                await count(size)

    def measured(self) -> MeasuredRequest:
        """The request with its route's template and its path."""
        return MeasuredRequest(
            method=self.method,
            route=self.scope.get("path_template", "none"),
            path=self.scope["path"],
            status=self.status,
            seconds=perf_counter() - self._started,
            limit=self._state.get("limit"),
        )


def _method(scope: HTTPScope, headers: dict[bytes, bytes]) -> str:
    """The method, or the one in X-HTTP-Method-Override (tus 1.0.0, Core), for clients whose network
    allows only GET and POST."""
    if scope["method"] == "POST" and b"x-http-method-override" in headers:
        override = headers[b"x-http-method-override"].decode("latin-1").upper()
        if override in _OVERRIDES:
            scope["method"] = cast("Any", override)
    return scope["method"]


def silent_seconds(method: str, path: str) -> int:
    """The longest pause in a body, in seconds; longer for resumable uploads, whose clients may have
    a bad network."""
    is_upload = method == "PATCH" and path.startswith("/uploads/")
    return _SILENT_UPLOAD_SECONDS if is_upload else _SILENT_SECONDS
