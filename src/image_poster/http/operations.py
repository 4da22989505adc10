"""Routes for operators, and for clients that ask before they send. The limits in force, the
caller's identity, health, readiness, and the OpenAPI document with a page to read it."""

import hashlib
from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import cache, lru_cache
from pathlib import Path

import msgspec
from litestar import Litestar, MediaType, Response, get
from litestar.params import FromPath
from swagger_ui_bundle import swagger_ui_path

from image_poster.domain import errors
from image_poster.domain.accounts import MAX_BLOCKS
from image_poster.domain.images import MAX_SIDE, ImageFormat, certain_pixels, max_decoder_bytes
from image_poster.domain.limits import (
    FEED_PAGE_DEFAULT,
    FEED_PAGE_MAX,
    LATEST_DEFAULT,
    MAX_LATEST_BYTES,
    MODERATION_TEXT_CHARACTERS,
    UPLOAD_KEPT_MS,
    UPLOAD_PIECE_BYTES,
    WAIT_MAX_SECONDS,
    Limits,
)
from image_poster.http import openapi
from image_poster.http.auth import SignIn, optional_identity
from image_poster.http.requests import AnyRequest, services
from image_poster.http.responses import etag_of, json_response, tagged_bytes, tagged_json

Readiness = Callable[[], Awaitable[None]]


class FormatLimits(msgspec.Struct, frozen=True):
    """Limits of one image format. Every image of up to `certain_pixels` is accepted. A larger one,
    up to `max_pixels`, is accepted if decoding needs at most `max_memory_bytes`. Fewer bits a
    sample, and no transparency, need less."""

    certain_pixels: int
    max_memory_bytes: int


class ImageLimits(msgspec.Struct, frozen=True):
    """Limits of a sent image. `max_multipart_bytes` holds for multipart in one request.
    `max_pixels` is width times height. `formats` are media types; `by_format` has their limits."""

    max_bytes: int
    max_multipart_bytes: int
    max_pixels: int
    max_side: int
    formats: tuple[str, ...]
    by_format: dict[str, FormatLimits]


class TextLimit(msgspec.Struct, frozen=True):
    """Limit of a text, in characters after trimming."""

    max_characters: int


class PageLimits(msgspec.Struct, frozen=True):
    """Limits of lists: entries a page, and the latest comments of a post in the feed. A post has as
    many as fit into `latest_comments_max_bytes` of JSON, but at least one."""

    latest_comments_max: int
    default: int = FEED_PAGE_DEFAULT
    max: int = FEED_PAGE_MAX
    latest_comments_default: int = LATEST_DEFAULT
    latest_comments_max_bytes: int = MAX_LATEST_BYTES


class UploadLimits(msgspec.Struct, frozen=True):
    """Limits of resumable uploads: bytes of one PATCH, recommended bytes of one PATCH, and the
    lifetime of an upload."""

    max_piece_bytes: int
    recommended_piece_bytes: int = UPLOAD_PIECE_BYTES
    kept_seconds: int = UPLOAD_KEPT_MS // 1000


class RateLimits(msgspec.Struct, frozen=True):
    """Limits of one caller; null is no limit. Requests are counted by address, the rest by user; a
    day is one of UTC. Images do not count, and neither do PATCH and HEAD of an upload by an
    identified caller. Requests beyond a limit get 429 `rate_limited`. If `exact` is false, a limit
    takes effect some seconds late."""

    writes_per_minute: int | None
    bytes_per_day: int | None
    uploads_under_way: int | None
    requests_per_minute: int | None
    exact: bool


class LimitsBody(msgspec.Struct, frozen=True):
    """The limits in force. `report` is the limit of the texts of reports, decisions and appeals,
    `blocks_max` of the users that one user blocks. `rules_url` and `contact` are the operator's
    rules and address, if they are set. `requests_per_second`, of the whole service, is null if
    there is no such limit."""

    image: ImageLimits
    caption: TextLimit
    alt: TextLimit
    comment: TextLimit
    upload: UploadLimits
    page: PageLimits
    rates: RateLimits
    report: TextLimit
    blocks_max: int = MAX_BLOCKS
    rules_url: str | None = None
    contact: str | None = None
    wait_max_seconds: int = WAIT_MAX_SECONDS
    requests_per_second: int | None = None


def limits_body(limits: Limits) -> LimitsBody:
    """The limits as GET /limits shows them."""
    return LimitsBody(
        image=ImageLimits(
            limits.image_bytes,
            limits.multipart_bytes or limits.image_bytes,
            limits.image_pixels,
            MAX_SIDE,
            tuple(ImageFormat),
            {str(name): _format_limits(name, limits) for name in ImageFormat},
        ),
        upload=UploadLimits(limits.piece_bytes or limits.image_bytes),
        page=PageLimits(limits.latest_kept),
        rates=RateLimits(**msgspec.structs.asdict(limits.rates), exact=limits.rates_exact),
        caption=TextLimit(limits.caption_characters),
        alt=TextLimit(limits.alt_characters),
        comment=TextLimit(limits.comment_characters),
        report=TextLimit(MODERATION_TEXT_CHARACTERS),
        rules_url=limits.rules_url,
        contact=limits.contact,
    )


def _format_limits(image_format: ImageFormat, limits: Limits) -> FormatLimits:
    return FormatLimits(
        certain_pixels(image_format, limits.image_pixels, limits.image_memory),
        max_decoder_bytes(image_format, limits.image_memory),
    )


@get(
    "/limits",
    **openapi.public("operations", {200: openapi.response("The limits in force.", LimitsBody)}),
)
async def get_limits(request: AnyRequest) -> Response[bytes]:
    """The limits in force: sizes, formats, lengths, and rates."""
    return json_response(msgspec.json.encode(limits_body(services(request).limits)))


class Health(msgspec.Struct, frozen=True):
    """The state of the service."""

    status: str


class Me(msgspec.Struct, frozen=True):
    """The caller as others see them: `user` and `name` are null for an anonymous caller. `auth` is
    the way to sign in; members that do not apply are null."""

    user: str | None
    name: str | None
    admin: bool
    auth: SignIn


@get(
    "/me",
    **openapi.anyone(
        "operations", {200: openapi.response("The caller.", Me)}, errors.IdentityRequiredError
    ),
)
async def get_me(request: AnyRequest) -> Response[bytes]:
    """The caller's identity, and the way to sign in.

    For anonymous callers too. An invalid token is 401.
    """
    caller, sign_in = await optional_identity(request), request.app.state.authenticator.sign_in
    me = (
        Me(None, None, admin=False, auth=sign_in)
        if caller is None
        else Me(caller.user, caller.name, admin=caller.admin, auth=sign_in)
    )
    return json_response(msgspec.json.encode(me), headers={"cache-control": "no-store"})


@get(
    "/healthz", **openapi.public("operations", {200: openapi.response("The process runs.", Health)})
)
async def get_health() -> Response[bytes]:
    """Health of the process.

    This reads no database.
    """
    return json_response(msgspec.json.encode(Health("ok")))


@get(
    "/readyz",
    **openapi.public(
        "operations",
        {200: openapi.response("The service can store comments.", Health)},
        errors.NotReadyError,
    ),
)
async def get_readiness(request: AnyRequest) -> Response[bytes]:
    """Readiness of the service for requests.

    503 exactly when a comment would be refused.
    """
    await request.app.state.readiness()
    return json_response(msgspec.json.encode(Health("ready")))


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


@get("/openapi.json", include_in_schema=False)
async def get_openapi(request: AnyRequest) -> Response[bytes]:
    """The OpenAPI 3.1 document."""
    return tagged_json(request.headers, *_openapi(request.app))


@lru_cache(1)
def _openapi(app: Litestar) -> tuple[bytes, str]:
    """The document and its ETag, encoded once per process, which takes tens of milliseconds."""
    document, url = openapi.encoded_document(app), app.state.public_url.url
    if url:
        servers = b'"servers":' + msgspec.json.encode([{"url": url}])
        document = document.replace(b'"servers":[{"url":"/"}]', servers)
    return document, etag_of(document)


@get("/docs", include_in_schema=False)
async def get_docs(request: AnyRequest) -> Response[bytes]:
    """A page to read and try the API; it works without the internet."""
    path = request.app.state.public_url.path
    script = _SCRIPT % path
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = _PROTECTION["content-security-policy"] % digest
    page = _PAGE.format(path=path, script=script).encode()
    headers = {**_PROTECTION, "content-security-policy": policy, "cache-control": "no-cache"}
    return tagged_bytes(request.headers, page, etag_of(page), MediaType.HTML, headers)


@get("/docs/{asset:str}", include_in_schema=False)
async def get_docs_asset(request: AnyRequest, asset: FromPath[str]) -> Response[bytes]:
    """Files of Swagger UI, from its package."""
    if asset not in _ASSETS:
        raise errors.RouteNotFoundError
    headers = {"cache-control": "public, max-age=86400"}
    return tagged_bytes(request.headers, *_asset(asset), _ASSETS[asset], headers)


@cache
def _asset(name: str) -> tuple[bytes, str]:
    content = Path(swagger_ui_path, name).read_bytes()
    return content, etag_of(content)


ROUTES = (
    get_limits,
    get_me,
    get_health,
    get_readiness,
    get_openapi,
    get_docs,
    get_docs_asset,
)
