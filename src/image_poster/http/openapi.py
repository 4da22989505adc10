"""The OpenAPI 3.1 document: the documentation of routes, in addition to what Litestar reads from
their handlers."""

from collections import defaultdict
from typing import Any, NamedTuple

import msgspec
from litestar import Litestar, MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
    SecurityScheme,
    Tag,
)
from litestar.openapi.spec.enums import OpenAPIType
from litestar.types import Method

from image_poster import __version__
from image_poster.domain import errors
from image_poster.domain.idempotency import HEADER, MAX_CHARACTERS
from image_poster.http.auth import (
    check_admin,
    check_identity,
    check_json_admin,
    check_json_writer,
    check_viewer,
)
from image_poster.http.events import webhook_operations
from image_poster.http.problems import MEDIA_TYPE, Problem
from image_poster.http.requests import JSON_MAX_BYTES

Responses = dict[int, ResponseSpec]
Refusal = type[errors.ImagePosterError]
# A part of an operation: an error, a request header, a body that its handler reads, or a group.
Part = Refusal | Parameter | RequestBody
Group = tuple[Part, ...]

# The ways to authenticate, by their names in operations; an authenticator accepts some of them.
SCHEMES = {
    "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
    "userId": SecurityScheme(
        type="apiKey",
        name="user-id",
        security_scheme_in="header",
        description="With `auth=dev`: any name is accepted, without proof.",
    ),
}
_IDENTIFIED: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]

# The ids of operations whose HEAD is what clients ask for, with 200 where GET has 204.
_HEAD_TOO = {"findUpload"}
# The ids of operations that no limit refuses. (PATCH and HEAD of an upload are limited, but for
# anonymous callers only: http/addresses.py.)
_UNCOUNTED = {"getImage"}
_TAGS = {
    "posts": "Posts, one by one.",
    "feed": "Ready posts, most commented or newest first.",
    "comments": "Comments on ready posts.",
    "images": "Renditions of posts, and their originals.",
    "uploads": "The bytes of an image: resumable (tus 1.0.0), or by one PUT to a signed URL.",
    "reports": "Reports of posts and comments, and what became of them.",
    "moderation": "The queue and the log of decisions, for admins; appeals, for everybody.",
    "accounts": "The caller's own data, blocks, and the deletion of the account.",
    "operations": "The service's limits, health and metrics, and the caller's identity.",
}


# Errors that the middleware and the framework add to each operation.
_ANYWHERE: tuple[Refusal, ...] = (
    errors.HostNotAllowedError,
    errors.RateLimitedError,
    errors.InternalError,
)


class Callers(NamedTuple):
    """The callers of a route: the options of its handler that check them, and the errors of these
    checks. A call returns all documented options of a route."""

    options: dict[str, Any]
    refusals: tuple[Refusal, ...] = ()

    def __call__(self, tag: str, success: Responses, *parts: Part | Group) -> Any:  # noqa: ANN401 - arguments of Litestar's decorators
        """The route's successful responses, its errors, and the headers and the body that its
        handler reads by itself. The first paragraph of the handler's docstring is its summary."""
        groups = (self.refusals, *parts)
        flat = [
            part for group in groups for part in (group if isinstance(group, tuple) else (group,))
        ]
        parameters = [part for part in flat if isinstance(part, Parameter)]
        refusals = [part for part in flat if not isinstance(part, (Parameter, RequestBody))]
        body = next((part for part in flat if isinstance(part, RequestBody)), None)

        class _Documented(Operation):
            def __init__(self, **generated: Any) -> None:  # noqa: ANN401 - Operation's fields
                super().__init__(**generated)
                summary, _, text = (self.description or "").partition("\n\n")
                self.summary = " ".join(summary.split()).removesuffix(".")
                self.description = text or None
                self.parameters = [*(self.parameters or []), *parameters] or None
                self.request_body = body or self.request_body

        return {
            **self.options,
            "tags": [tag],
            "responses": _problems(refusals) | success,
            "operation_class": _Documented,
        }


def _problems(refusals: list[Refusal]) -> Responses:
    """The problem responses of these errors, and of those that follow from them."""
    codes: dict[int, set[str]] = defaultdict(set)
    for error in (*refusals, *_ANYWHERE):
        codes[error.status].add(error.code)
    if errors.IdentityRequiredError in refusals:
        # The issuer that checks the identity may be unreachable.
        codes[errors.BusyError.status].add(errors.BusyError.code)
    if {errors.BodyTooLargeError, errors.UploadTooLargeError} & set(refusals):
        codes[errors.BodySilentError.status].add(errors.BodySilentError.code)
    if errors.ValidationFailedError in refusals:
        # Litestar lists a 400 of its own for every handler with parameters.
        codes.setdefault(400, {errors.InvalidRequestError.code})
    return {
        status: response(
            "Problem codes: " + ", ".join(f"`{code}`" for code in sorted(codes_of_status)),
            Problem,
            MEDIA_TYPE,
        )
        for status, codes_of_status in codes.items()
    }


def response(
    description: str,
    body: Any = None,  # noqa: ANN401 - a struct, bytes, or None
    media_type: str = MediaType.JSON,
) -> ResponseSpec:
    """A response with this type of body; None for an empty one."""
    return ResponseSpec(
        body, generate_examples=False, description=description, media_type=media_type
    )


def cached(description: str, body: Any) -> Responses:  # noqa: ANN401 - a struct
    """The responses of a GET with an ETag."""
    return {200: response(description, body), 304: response("Your copy is current.")}


def body_of(content: dict[str, Schema], *, required: bool) -> RequestBody:
    """A body by its media types, for a handler that reads it by itself."""
    media_types = {kind: OpenAPIMediaType(schema=schema) for kind, schema in content.items()}
    return RequestBody(content=media_types, required=required)


def header(
    name: str,
    *,
    required: bool = True,
    description: str | None = None,
    **schema: Any,  # noqa: ANN401 - Schema's
) -> Parameter:
    """A request header with values of this `schema`; by default a text."""
    return Parameter(
        name=name,
        param_in="header",
        required=required,
        schema=Schema(**{"type": OpenAPIType.STRING, **schema}),
        description=description,
    )


TEXT = Schema(type=OpenAPIType.STRING)
BYTES = Schema(type=OpenAPIType.STRING)

# Groups of parts, by the kind of request.
_WRITE = (
    errors.IdentityRequiredError,
    errors.AccountDeletedError,
    errors.StorageFullError,
    errors.BusyError,
)
_ADMIN = (errors.IdentityRequiredError, errors.AdminsOnlyError)
JSON_BODY = (
    errors.InvalidJsonError,
    errors.BodyTooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.ValidationFailedError,
)
IMAGE_BODY = (
    errors.UploadTooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.UnsupportedImageError,
    errors.ValidationFailedError,
)
KEYED = (
    header(
        HEADER,
        required=False,
        description="A repeated request with the same key gets the first one's answer.",
        min_length=1,
        max_length=MAX_CHARACTERS,
    ),
    errors.IdempotencyKeyReusedError,
    errors.RequestInProgressError,
    errors.GoneError,
)
EDIT = (
    header(
        "If-Match",
        required=False,
        description="The ETag of the version to change: 412 if it has been edited since.",
    ),
    errors.NotYoursError,
    errors.EditConflictError,
)


_anyone = {"security": [{}, *_IDENTIFIED]}
_identified = {"security": _IDENTIFIED, "before_request": check_identity}
_json = {"before_request": check_json_writer, "request_max_body_size": JSON_MAX_BYTES}
_admin = {"security": _IDENTIFIED, "before_request": check_admin}
_json_admin = {**_admin, "before_request": check_json_admin}

public = Callers({})
anyone = Callers(_anyone)
viewer = Callers({**_anyone, "before_request": check_viewer}, (errors.IdentityRequiredError,))
identified = Callers(_identified, (errors.IdentityRequiredError,))
writer = Callers(_identified, _WRITE)
json_writer = Callers({**_identified, **_json}, (*_WRITE, *JSON_BODY))
admin = Callers(_admin, _ADMIN)
json_admin = Callers(
    {**_json_admin, "request_max_body_size": JSON_MAX_BYTES}, (*_ADMIN, *_WRITE, *JSON_BODY)
)


def openapi_config(schemes: tuple[str, ...]) -> OpenAPIConfig:
    """The OpenAPI configuration for Litestar; `schemes` are the authentication schemes."""
    table = "\n".join(
        f"| `{error.code}` | {error.status} | {error.detail} |"
        for error in sorted(errors.ERRORS, key=lambda error: error.status)
    )
    return OpenAPIConfig(
        title="image-poster-api",
        version=__version__,
        description=(
            "Post images over bad networks. Writes need an identity: see the security schemes.\n\n"
            "Every problem has a stable `code`:\n\n| code | status | meaning |\n|---|---|---|\n"
            + table
        ),
        components=Components(security_schemes={name: SCHEMES[name] for name in schemes}),
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        path="/openapi",
        render_plugins=[],
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
    )


def _operation_id(handler: HTTPRouteHandler, _method: Method, _path: object) -> str:
    """The handler's name in camel case."""
    first, *words = handler.handler_name.split("_")
    return first + "".join(map(str.capitalize, words))


def encoded_document(app: Litestar) -> bytes:
    """The OpenAPI document as JSON, with corrections where Litestar lacks information."""
    document = app.openapi_schema.to_schema()
    known = set(document["components"].get("securitySchemes", {}))
    for path in document["paths"].values():
        for operation_object in path.values():
            _correct(operation_object, known)
        if path.get("get", {}).get("operationId") in _HEAD_TOO:
            path["head"] = _head(path["get"])
    document["webhooks"] = webhook_operations()
    return msgspec.json.encode(document)


def _head(get_operation: dict[str, Any]) -> dict[str, Any]:
    """The HEAD operation of a GET that answers 204. It takes over the operation's id, and the GET
    gets another."""
    head = {**get_operation, "responses": {**get_operation["responses"]}}
    head["responses"]["200"] = head["responses"].pop("204")
    get_operation["operationId"] += "ByGet"
    return head


def _correct(operation_object: dict[str, Any], schemes: set[str]) -> None:
    described = operation_object["responses"]
    if "204" in described:
        described.pop("200", None)  # Litestar's default, which no handler sends beside it
    if operation_object["operationId"] in _UNCOUNTED:
        del described["429"]
    if "security" in operation_object:
        operation_object["security"] = [
            scheme for scheme in operation_object["security"] if scheme.keys() <= schemes
        ]


PAGE_ERRORS = (errors.InvalidCursorError, errors.ValidationFailedError)
