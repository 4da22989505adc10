"""Requests: the services that handle them, their headers, idempotency keys and bodies, also of
clients that stop sending."""

import asyncio
import codecs
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Annotated, Any, TypeVar, cast

import msgspec
from litestar import Request
from litestar.params import QueryParameter
from litestar.types import HTTPReceiveMessage, Receive

from image_poster.domain import errors
from image_poster.domain.idempotency import HEADER, checked_key
from image_poster.domain.identity import Identity
from image_poster.domain.ids import is_id
from image_poster.domain.limits import FEED_PAGE_MAX, check_characters
from image_poster.services import Services

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


class RequestBody:
    """The body of one request, whose pauses may last `seconds`. It `is_complete` after its end, and
    `is_silent` after a longer pause. `headers` are the request's."""

    def __init__(self, receive: Receive, seconds: float, headers: Mapping[bytes, bytes]) -> None:
        self._receive = receive
        self._seconds = seconds
        self.is_silent = False
        self.is_complete = not _announces_body(headers)

    async def receive(self) -> HTTPReceiveMessage:
        """The next message of the body. Raises `BodySilentError`."""
        try:
            async with asyncio.timeout(self._seconds):
                message = cast("HTTPReceiveMessage", await self._receive())
        except TimeoutError as exc:
            self.is_silent = True
            raise errors.BodySilentError from exc
        if message["type"] == "http.disconnect" or not message["more_body"]:
            self.is_complete = True
        return message

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in non-empty chunks, as it arrives. Raises `BodySilentError`, and
        `ClientGoneError` when it stops before its end."""
        more = True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientGoneError
            if message["body"]:
                yield message["body"]
            more = message["more_body"]

    async def drain(self, seconds: float, max_bytes: int) -> int:
        """Read and discard the rest of the body, for a limited time; the number of bytes."""
        size = 0
        try:
            async with asyncio.timeout(seconds):
                while not self.is_complete and size <= max_bytes:
                    size += len(cast("dict[str, Any]", await self.receive()).get("body", b""))
        except TimeoutError:
            pass
        return size


def _announces_body(headers: Mapping[bytes, bytes]) -> bool:
    """True if a body follows (RFC 9112 section 6.3). Some clients send `Content-Length: 0` with
    every request: there is no body to read, and the connection stays open."""
    if b"transfer-encoding" in headers:
        return True
    return headers.get(b"content-length", b"").strip(b"0") != b""


class JsonRequest(AnyRequest):
    """A Litestar request, whose JSON is read by `parsed`."""

    async def json(self) -> Any:  # noqa: ANN401 - as Litestar's
        return parsed(await self.body())


def services(request: AnyRequest) -> Services:
    """The services of the edition that serves."""
    return request.app.state.services  # type: ignore[no-any-return]


def require_id(text: str, missing: type[errors.ImagePosterError] = errors.PostNotFoundError) -> str:
    """The id from a path. Raises `missing` if it cannot be an id."""
    if not is_id(text):
        raise missing
    return text


def is_head(request: AnyRequest) -> bool:
    """True for a HEAD, which the middleware passes on as a GET."""
    return "is_head" in request.scope["state"]


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
            "The service does not decompress bodies. Send the body without Content-Encoding."
        )


def check_json(request: AnyRequest) -> None:
    """Check before a handler that the body is uncompressed JSON. Raises
    `UnsupportedMediaTypeError`."""
    check_coding(request)
    if not is_json(request):
        raise errors.UnsupportedMediaTypeError(
            "Send the body as JSON, with Content-Type: application/json."
        )


def idempotency_key(request: AnyRequest) -> str | None:
    """The request's key. Raises `ValidationFailedError` for an invalid one."""
    key = request.headers.get(HEADER)
    return None if key is None else checked_key(key)


@contextmanager
def in_flight(request: AnyRequest, caller: Identity, key: str | None) -> Iterator[None]:
    """Mark the key as in use until the request ends. Raises `RequestInProgressError` if it already
    is.

    A request is marked once its body is complete. Until then its client may be gone, and its retry
    must not be refused. Between processes the store decides: the second request finds the
    idempotency record of the first.
    """
    entry, running = (caller.user, key), request.app.state.in_flight
    if key is None:
        yield
        return
    if entry in running:
        raise errors.RequestInProgressError
    running.add(entry)
    try:
        yield
    finally:
        running.discard(entry)


def body_chunks(request: AnyRequest) -> AsyncIterator[bytes]:
    """The body in non-empty chunks, as `RequestBody.chunks`."""
    body: RequestBody = request.scope["state"]["body"]
    return body.chunks()


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
        with suppress(ValueError, RecursionError):
            _check_surrogates("body", json.loads(body.decode("utf-8-sig", "surrogatepass")))
        raise errors.InvalidJsonError from exc


def _check_surrogates(field: str, value: object) -> None:
    """Raise `ValidationFailedError` with the field's name for half a surrogate pair, escaped or
    not, which msgspec does not report."""
    if isinstance(value, str):
        check_characters(field, value)
    elif isinstance(value, dict):
        for name, member in value.items():
            check_characters(field, name)
            _check_surrogates(name if field == "body" else f"{field}.{name}", member)
    elif isinstance(value, list):
        for entry in value:
            _check_surrogates(field, entry)


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
    expected, rule, got = match.groups()
    rule = rule.replace(" matching regex", " that matches")
    return f"must be {_json_types(expected)}{rule}" + (f", not {_json_types(got)}" if got else "")


def _json_types(names: str) -> str:
    return " or ".join(_JSON_TYPES.get(name, name) for name in names.split(" | "))
