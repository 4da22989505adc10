"""Requests: access to the services and headers, and reading of bodies."""

import codecs
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, TypeVar, cast

import msgspec
from litestar import Request
from litestar.params import QueryParameter
from litestar.types import HTTPRequestEvent

from image_poster.domain import errors
from image_poster.domain.ids import is_id
from image_poster.domain.limits import FEED_PAGE_MAX
from image_poster.domain.texts import check_characters
from image_poster.services.registry import Services

AnyRequest = Request[Any, Any, Any]
PageLimit = Annotated[int, QueryParameter(ge=1, le=FEED_PAGE_MAX)]
Body = TypeVar("Body")

# Generous for the longest caption in UTF-8 with every character escaped.
JSON_MAX_BYTES = 256 * 1024
_EXPECTED = re.compile(r"Expected `([^`]+)`(.*?)(?:, got `([^`]+)`)?", re.DOTALL)
_JSON_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
}
_MISSING = re.compile(r"required field `(.+?)`")


class ClientGoneError(Exception):
    """The connection broke before the body was complete: there is no client to answer."""


class JsonRequest(AnyRequest):
    """A Litestar request, whose JSON is read by `parsed`."""

    async def json(self) -> Any:  # noqa: ANN401 - as Litestar's
        return parsed(await self.body())


def services(request: AnyRequest) -> Services:
    """The services of the edition that serves."""
    found: Services = request.app.state.services
    return found


def require_post_id(post_id: str) -> str:
    """The id from a path. Raises `PostNotFoundError` if it cannot be a post's id."""
    if not is_id(post_id):
        raise errors.PostNotFoundError
    return post_id


def media_type(request: AnyRequest) -> str:
    """The Content-Type without its parameters, in lower case; empty if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def declared_bytes(request: AnyRequest) -> int | None:
    """The Content-Length of the body, in bytes; None if there is none."""
    declared = request.headers.get("content-length")
    return None if declared is None else int(declared)


def is_json(request: AnyRequest) -> bool:
    """True if the Content-Type is JSON."""
    content_type = media_type(request)
    return content_type == "application/json" or content_type.endswith("+json")


def check_coding(request: AnyRequest) -> None:
    """Refuse a compressed body (RFC 9110 section 8.4), because nothing decompresses it. Raises
    `UnsupportedMediaTypeError`."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        raise errors.UnsupportedMediaTypeError(
            "Send the body as it is, without Content-Encoding: bodies are not decompressed here."
        )


async def json_only(request: AnyRequest) -> None:
    """Check before a handler that the body is uncompressed JSON. Raises
    `UnsupportedMediaTypeError`.

    (Not a guard, for which Litestar copies the handler each time.)
    """
    check_coding(request)
    if not is_json(request):
        raise errors.UnsupportedMediaTypeError(
            "Send the body as JSON, with Content-Type: application/json."
        )


async def body_chunks(request: AnyRequest) -> AsyncIterator[bytes]:
    """The body in non-empty chunks, as it arrives. Raises `ClientGoneError` when it stops before
    its end."""
    more = True
    while more:
        message = cast("HTTPRequestEvent", await request.receive())
        if message["type"] != "http.request":
            raise ClientGoneError
        if message["body"]:
            yield message["body"]
        more = message["more_body"]


async def json_body(request: AnyRequest) -> bytes:
    """A small body as a whole, in handlers that also accept large bodies. Raises
    `BodyTooLargeError`."""
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > JSON_MAX_BYTES:
            raise errors.BodyTooLargeError
    return bytes(body)


def count_unread_body(
    request: AnyRequest, count: Callable[..., Awaitable[None]], *of: str | None
) -> None:
    """Have the body's bytes counted that are read after the response is sent: calls `count` with
    `of` and their number."""
    request.scope["state"]["count_unread_body"] = partial(count, *of)


def parsed(body: bytes) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Parse JSON, also after a byte order mark (RFC 8259 section 8.1 lets a parser ignore it).

    Raises `InvalidJsonError` for any unreadable JSON, such as invalid UTF-8, a number out of range,
    or too deeply nested brackets. Raises `ValidationFailedError` for half of a surrogate pair in a
    text.
    """
    try:
        return msgspec.json.decode(body.removeprefix(codecs.BOM_UTF8))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        check_surrogates(body)
        raise errors.InvalidJsonError from exc


def check_surrogates(body: bytes) -> None:
    """Raises `ValidationFailedError` with the field's name if JSON is unreadable only because of
    half a surrogate pair, escaped or not. msgspec does not report this."""
    with suppress(ValueError, RecursionError):
        _check_texts("body", json.loads(body.decode("utf-8-sig", "surrogatepass")))


def _check_texts(field: str, value: object) -> None:
    if isinstance(value, str):
        check_characters(field, value)
    elif isinstance(value, dict):
        for name, member in value.items():
            check_characters(field, name)
            _check_texts(name if field == "body" else f"{field}.{name}", member)
    elif isinstance(value, list):
        for entry in value:
            _check_texts(field, entry)


def decoded(body: bytes, kind: type[Body]) -> Body:
    """Decode JSON as a `kind`. Raises `InvalidJsonError`, and `ValidationFailedError` that names
    the field."""
    try:
        return msgspec.convert(parsed(body), kind)
    except msgspec.ValidationError as exc:
        raise errors.ValidationFailedError(broken_rule(str(exc))) from exc


def broken_rule(message: str, field: str = "body") -> errors.FieldError:
    """The field's error for a message of msgspec about the value `field`, such as "Object missing
    required field `size` - at `$.image`"."""
    detail, _, place = message.partition(" - at `$")
    missing = _MISSING.search(detail)
    path = [name for name in place.rstrip("`").split(".") if name]
    if missing is None:
        return errors.FieldError(".".join(path) or field, in_json_words(detail))
    return errors.FieldError(".".join([*path, missing[1]]), "is required")


def in_json_words(detail: str) -> str:
    """Replace Python's type names by JSON's (RFC 8259 section 1) in a message of msgspec, such as
    "Expected `int`, got `str`"."""
    match = _EXPECTED.fullmatch(detail)
    if match is None:
        return detail
    wanted, rule, got = match.groups()
    rule = rule.replace(" matching regex", " that matches")
    return f"must be {_json_types(wanted)}{rule}" + (f", not {_json_types(got)}" if got else "")


def _json_types(names: str) -> str:
    return " or ".join(_JSON_TYPES.get(name, name) for name in names.split(" | "))
