"""The OpenAPI 3.1 document: additions to what Litestar reads from the handlers, and the page to
read it."""

import hashlib
from base64 import b64encode
from collections import defaultdict
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from litestar import Litestar, MediaType, Response, get
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
from litestar.params import FromPath
from swagger_ui_bundle import swagger_ui_path

from image_poster import __version__
from image_poster.domain import errors
from image_poster.domain.idempotency import HEADER, MAX_CHARACTERS
from image_poster.http.problems import MEDIA_TYPE, Problem
from image_poster.http.requests import AnyRequest
from image_poster.http.responses import etag_of, tagged_bytes, tagged_json

Responses = dict[int, ResponseSpec]
Security = list[dict[str, list[str]]]

# Ways to say who is asking, by the names that operations refer to; an authenticator takes some.
SCHEMES = {
    "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
    "userId": SecurityScheme(
        type="apiKey",
        name="user-id",
        security_scheme_in="header",
        description="With `auth=dev`: any name is believed.",
    ),
}
IDENTIFIED: Security = [{name: []} for name in SCHEMES]
ANYONE: Security = [{}, *IDENTIFIED]

# The ids of operations whose HEAD is what clients ask for, with 200 where GET has 204.
_HEAD_TOO = {"findUpload"}
# The ids of those that are never refused for having come too often. (PATCH and HEAD of an upload
# are, but only for callers who are not identified: http/limits.py.)
_UNCOUNTED = {"getImage"}
_TAGS = {
    "posts": "Posts, one by one.",
    "feed": "Ready posts, most commented or newest first.",
    "comments": "Comments on ready posts.",
    "images": "What is shown.",
    "uploads": "The bytes of an image: resumable (tus 1.0.0), or by one PUT to a signed URL.",
    "operations": "For operators, and for clients that ask before they send.",
}


# What is refused before the handler is asked, or in spite of it.
_ANYWHERE: tuple[type[errors.ImagePosterError], ...] = (
    errors.HostNotAllowedError,
    errors.RateLimitedError,
    errors.InternalError,
)


def responses(success: Responses, *refusals: type[errors.ImagePosterError]) -> Responses:
    """The `responses` of a handler: its successful responses, and the problem codes of its
    errors."""
    codes: dict[int, set[str]] = defaultdict(set)
    for error in (*refusals, *_ANYWHERE):
        codes[error.status].add(error.code)
    if errors.IdentityRequiredError in refusals:
        # Where who is asking matters, it may be that it cannot be checked just now.
        codes[errors.BusyError.status].add(errors.BusyError.code)
    if {errors.BodyTooLargeError, errors.UploadTooLargeError} & set(refusals):
        codes[errors.BodySilentError.status].add(errors.BodySilentError.code)
    if errors.ValidationFailedError in refusals:
        # Litestar lists a 400 of its own for every handler with parameters.
        codes.setdefault(400, {errors.InvalidRequestError.code})
    return {status: _problem(found) for status, found in codes.items()} | success


def json_of(body: Any, description: str) -> ResponseSpec:  # noqa: ANN401 - a struct, or a union of some
    """A JSON response."""
    return ResponseSpec(body, generate_examples=False, description=description)


def bytes_of(media_type: str, description: str) -> ResponseSpec:
    """A response of bytes."""
    return ResponseSpec(
        bytes, generate_examples=False, description=description, media_type=media_type
    )


def nothing(description: str) -> ResponseSpec:
    """A response without content."""
    return ResponseSpec(None, generate_examples=False, description=description)


def _problem(codes: set[str]) -> ResponseSpec:
    listed = ", ".join(f"`{code}`" for code in sorted(codes))
    description = f"Problem codes: {listed}"
    return ResponseSpec(
        Problem, generate_examples=False, description=description, media_type=MEDIA_TYPE
    )


def operation(
    *parameters: Parameter, body: dict[str, Schema] | None = None, required: bool = False
) -> type[Operation]:
    """The operation of a handler that reads headers and its body by itself: these `parameters`, and
    a `body` of one of these media types."""

    class _Documented(Operation):
        def __init__(self, **read_off: Any) -> None:  # noqa: ANN401 - Operation's fields
            super().__init__(**read_off)
            self.parameters = [*(self.parameters or []), *parameters] or None
            if body is not None:
                content = {kind: OpenAPIMediaType(schema=schema) for kind, schema in body.items()}
                self.request_body = RequestBody(content=content, required=required)

    return _Documented


def header(
    name: str,
    *,
    required: bool = True,
    description: str | None = None,
    **schema: Any,  # noqa: ANN401 - Schema's
) -> Parameter:
    """A request header with values of this `schema`; by default a text."""
    kind = schema.pop("type", OpenAPIType.STRING)
    found = Schema(type=kind, **schema)
    return Parameter(
        name=name, param_in="header", required=required, schema=found, description=description
    )


IDEMPOTENCY_KEY = header(
    HEADER,
    required=False,
    description="A repeated request with the same key is answered as the first one was.",
    min_length=1,
    max_length=MAX_CHARACTERS,
)
IF_MATCH = header(
    "If-Match",
    required=False,
    description="The ETag of what is changed: 412 if somebody was faster.",
)
TEXT = Schema(type=OpenAPIType.STRING)
BYTES = Schema(type=OpenAPIType.STRING)


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
    )


def encoded_document(app: Litestar) -> bytes:
    """The OpenAPI document as JSON, with corrections where Litestar lacks information."""
    document = app.openapi_schema.to_schema()
    known = set(document["components"].get("securitySchemes", {}))
    for path in document["paths"].values():
        for found in path.values():
            _correct(found, known)
        if path.get("get", {}).get("operationId") in _HEAD_TOO:
            path["head"] = _head(path["get"])
    return msgspec.json.encode(document)


def _head(found: dict[str, Any]) -> dict[str, Any]:
    """The HEAD operation of a GET that answers 204. It takes over the operation's id, and the GET
    gets another."""
    head = {**found, "responses": {**found["responses"]}}
    head["responses"]["200"] = head["responses"].pop("204")
    found["operationId"] += "ByGet"
    return head


def _correct(found: dict[str, Any], schemes: set[str]) -> None:
    if "204" in found["responses"]:
        found["responses"].pop("200", None)  # Litestar's default, which we never give beside it
    if found["operationId"] in _UNCOUNTED:
        del found["responses"]["429"]
    if "security" in found:
        found["security"] = [way for way in found["security"] if way.keys() <= schemes]


_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>image-poster-api</title>
<link rel="icon" href="{path}/docs/favicon-32x32.png">
<link rel="stylesheet" href="{path}/docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="{path}/docs/swagger-ui-bundle.js"></script>
<script>{script}</script>
</body>
</html>
"""
_SCRIPT = 'SwaggerUIBundle({url: "%s/openapi.json", dom_id: "#docs"})'
# Swagger UI sets styles on elements, and has its icons in `data:` URLs. Nobody may frame the page:
# a click in it can write.
_PROTECTION = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self' 'sha256-%s'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


class _Document(NamedTuple):
    """Encoded bytes and their ETag."""

    body: bytes
    etag: str


@get("/openapi.json", include_in_schema=False)
async def get_openapi(request: AnyRequest) -> Response[bytes]:
    """The OpenAPI 3.1 document."""
    return tagged_json(request, *_openapi(request.app))


@lru_cache(1)
def _openapi(app: Litestar) -> _Document:
    """The document, encoded once per process, which takes tens of milliseconds."""
    document, url = encoded_document(app), app.state.public_url.url
    if url:
        document = document.replace(b'"servers":[{"url":"/"}]', _servers(url))
    return _Document(document, etag_of(document))


@get("/docs", include_in_schema=False)
async def get_docs(request: AnyRequest) -> Response[bytes]:
    """A page to read and try the API; it works without the internet."""
    path = request.app.state.public_url.path
    script = _SCRIPT % path
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = _PROTECTION["content-security-policy"] % digest
    page = _PAGE.format(path=path, script=script).encode()
    headers = {**_PROTECTION, "content-security-policy": policy, "cache-control": "no-cache"}
    return tagged_bytes(request, page, etag_of(page), MediaType.HTML, headers)


def _servers(url: str) -> bytes:
    return b'"servers":' + msgspec.json.encode([{"url": url}])


@get("/docs/{asset:str}", include_in_schema=False)
async def get_docs_asset(request: AnyRequest, asset: FromPath[str]) -> Response[bytes]:
    """Files of Swagger UI, from its package."""
    if asset not in _ASSETS:
        raise errors.RouteNotFoundError
    headers = {"cache-control": "public, max-age=86400"}
    return tagged_bytes(request, *_asset(asset), _ASSETS[asset], headers)


@cache
def _asset(name: str) -> _Document:
    content = Path(swagger_ui_path, name).read_bytes()
    return _Document(content, etag_of(content))


ROUTES = (get_openapi, get_docs, get_docs_asset)
