"""Reading what a client sends."""

import re
from collections.abc import AsyncIterator
from typing import TypeVar, cast

import msgspec
from litestar.types import HTTPRequestEvent

from image_poster.domain.errors import (
    BodyTooLargeError,
    UnsupportedMediaTypeError,
    ValidationFailedError,
    invalid,
)
from image_poster.http.requests import AnyRequest, parsed

# Generous for the longest caption in UTF-8 with every character escaped.
JSON_MAX_BYTES = 256 * 1024

Body = TypeVar("Body")
_MISSING = re.compile(r"required field `(.+?)`")


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


def is_json(request: AnyRequest) -> bool:
    """Whether the body says that it is JSON."""
    content_type = media_type(request)
    return content_type == "application/json" or content_type.endswith("+json")


async def json_body(request: AnyRequest) -> bytes:
    """A small body as a whole, for handlers that take large ones too. Raises
    `BodyTooLargeError`."""
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > JSON_MAX_BYTES:
            raise BodyTooLargeError
    return bytes(body)


def decoded(body: bytes, kind: type[Body]) -> Body:
    """The JSON as a `kind`. Raises `InvalidJsonError`, and `ValidationFailedError` that names the
    field."""
    try:
        return msgspec.convert(parsed(body), kind)
    except msgspec.ValidationError as exc:
        raise _broken_rule(str(exc)) from exc


def _broken_rule(message: str) -> ValidationFailedError:
    """Msgspec says "Object missing required field `size` - at `$.image`"."""
    detail, _, place = message.partition(" - at `$")
    missing = _MISSING.search(detail)
    path = [name for name in place.rstrip("`").split(".") if name]
    if missing is None:
        return invalid(".".join(path) or "body", detail)
    return invalid(".".join([*path, missing[1]]), "is required")


def media_type(request: AnyRequest) -> str:
    """The Content-Type without its parameters, in lower case; empty if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def json_only(request: AnyRequest) -> None:
    """Before a handler that reads JSON: the body must say that it is JSON.

    (Not a guard, for which Litestar copies the handler each time.)
    """
    if not is_json(request):
        raise UnsupportedMediaTypeError(
            "Send the body as JSON, with Content-Type: application/json."
        )
