"""The fast path: the two most frequent GETs skip the framework's routing, if they have no unusual
parameters or headers. Litestar answers all other requests and every error. Its responses are the
contract: `tests/unit/test_fast.py` compares the two.

A route returns an `EncodedResponse`, or None to let Litestar answer. The route's Litestar handler
builds the same response from the same parts (`responses.ready_response`). This module only finds
and sends it.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from image_poster.http.forwarded import peer_of

Headers = list[tuple[bytes, bytes]]


class EncodedResponse(NamedTuple):
    """A complete response; `headers` are those that do not describe the body."""

    status: int
    headers: Headers
    media_type: bytes
    body: bytes


class FastRequest(NamedTuple):
    """A GET: the groups that the path's pattern matched, the query string, the headers, and the
    peer's address."""

    found: tuple[str, ...]
    query: bytes
    headers: dict[bytes, bytes]
    peer: str


class FastRoute(NamedTuple):
    """A route of the fast path. `template` is Litestar's path template. `pattern` must match the
    whole path. If `answer` raises any error, Litestar answers instead."""

    template: str
    pattern: re.Pattern[str]
    answer: Callable[[FastRequest], Awaitable[EncodedResponse | None]]


class FastPath:
    """ASGI app that answers requests for its routes, and passes all others to `app`."""

    def __init__(self, app: ASGIApp, routes: Sequence[FastRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ready = await self._ready(scope) if scope["type"] == ScopeType.HTTP else None
        if ready is None:
            await self._app(scope, receive, send)
            return
        headers = list(ready.headers)
        if ready.status != HTTPStatus.NOT_MODIFIED:
            headers.append((b"content-type", ready.media_type))
            headers.append((b"content-length", b"%d" % len(ready.body)))
        start = {"type": "http.response.start", "status": ready.status, "headers": headers}
        await send(cast("Any", start))
        await send({"type": "http.response.body", "body": ready.body, "more_body": False})

    async def _ready(self, scope: HTTPScope) -> EncodedResponse | None:
        if scope["method"] != "GET" or scope.get("state", {}).get("is_head"):
            return None
        for route in self._routes:
            match = route.pattern.fullmatch(scope["path"])
            if match is not None:
                scope["path_template"] = route.template
                return await self._tried(route, scope, match.groups())
        return None

    async def _tried(
        self, route: FastRoute, scope: HTTPScope, found: tuple[str, ...]
    ) -> EncodedResponse | None:
        try:
            headers = dict(scope["headers"])
            asked = FastRequest(found, scope["query_string"], headers, peer_of(scope))
            return await route.answer(asked)
        except Exception:  # noqa: BLE001 - Litestar meets it again, and says or logs it
            return None
