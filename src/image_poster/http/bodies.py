"""Reading what a client sends."""

from collections.abc import AsyncIterator
from typing import cast

from litestar.types import HTTPRequestEvent

from image_poster.domain.errors import UnsupportedMediaTypeError
from image_poster.http.requests import AnyRequest

# Generous for the longest caption in UTF-8 with every character escaped.
JSON_MAX_BYTES = 256 * 1024


class ClientGoneError(Exception):
    """The connection broke before the body was complete: nobody is left to be answered."""


async def body_chunks(request: AnyRequest) -> AsyncIterator[bytes]:
    """The body as it comes in, in pieces that are never empty. Raises `ClientGoneError` when it
    stops before its end."""
    more = True
    while more:
        message = cast("HTTPRequestEvent", await request.receive())
        if message["type"] != "http.request":
            raise ClientGoneError
        if message["body"]:
            yield message["body"]
        more = message["more_body"]


async def json_only(request: AnyRequest) -> None:
    """Before a handler that reads JSON: the body must say that it is JSON.

    (Not a guard, for which Litestar copies the handler each time.)
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise UnsupportedMediaTypeError(
            "Send the body as JSON, with Content-Type: application/json."
        )
