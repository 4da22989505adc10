"""The limits that clients can read, and the counting of each caller's requests and writes."""

import re
from typing import Any

import msgspec
from litestar import Response, get
from litestar.types import HTTPScope

from image_poster.domain.errors import BusyError, IdentityRequiredError
from image_poster.domain.identity import Identity
from image_poster.domain.images import (
    MAX_SIDE,
    ImageFormat,
    certain_pixels,
    max_decoder_bytes,
)
from image_poster.domain.limits import (
    FEED_PAGE_DEFAULT,
    FEED_PAGE_MAX,
    LATEST_DEFAULT,
    MAX_LATEST_BYTES,
    UPLOAD_KEPT_MS,
    UPLOAD_PIECE_BYTES,
    WAIT_MAX_SECONDS,
    Limits,
)
from image_poster.http import openapi
from image_poster.http.auth import caller
from image_poster.http.forwarded import TrustedProxies, address_group
from image_poster.http.requests import AnyRequest, json_only, services
from image_poster.http.responses import json_response
from image_poster.ports.quotas import RateLimiter

# Those of a page are many.
_IMAGE_METHODS, _IMAGE = {"GET", "HEAD"}, re.compile(r"/images/[^/]+/[^/]+")
_UNCOUNTED = "uncounted"
_UPLOAD_METHODS, _UPLOAD = {"PATCH", "HEAD"}, re.compile(r"/uploads/[^/]+")


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
    identified caller. Beyond: 429 `rate_limited`; where these are not `exact`, some seconds
    late."""

    writes_per_minute: int | None
    bytes_per_day: int | None
    uploads_under_way: int | None
    requests_per_minute: int | None
    exact: bool


class LimitsBody(msgspec.Struct, frozen=True):
    """The limits in force. `requests_per_second`, of the whole service, is null where none is
    set."""

    image: ImageLimits
    caption: TextLimit
    alt: TextLimit
    comment: TextLimit
    upload: UploadLimits
    page: PageLimits
    rates: RateLimits
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
    )


def _format_limits(image_format: ImageFormat, limits: Limits) -> FormatLimits:
    return FormatLimits(
        certain_pixels(image_format, limits.image_pixels, limits.image_memory),
        max_decoder_bytes(image_format, limits.image_memory),
    )


@get(
    "/limits",
    operation_id="getLimits",
    tags=["operations"],
    summary="What is taken",
    responses=openapi.responses({200: openapi.json_of(LimitsBody, "The limits in force.")}),
)
async def get_limits(request: AnyRequest) -> Response[bytes]:
    """Sizes, formats and lengths, as in force."""
    return json_response(msgspec.json.encode(limits_body(services(request).limits)))


async def writer(request: AnyRequest) -> Identity:
    """Identify the caller, and count a write. Raises as `caller`, and `RateLimitedError`."""
    identity = await caller(request)
    await services(request).user_limits.count_write(identity)
    return identity


class AddressLimiter:
    """Counts requests by the client's address, whatever its identity; behind `proxies`, by the
    address that they report."""

    def __init__(self, limiter: RateLimiter, proxies: TrustedProxies) -> None:
        self._limiter = limiter
        self._proxies = proxies

    async def count(self, scope: HTTPScope, method: str) -> None:
        """Count a request of any method, for any path. Raises `RateLimitedError`.

        Images are not counted, as a page shows many. PATCH and HEAD of an upload are counted by
        `count_stranger` only, as clients abandon an upload at a 429.
        """
        path = scope["path"]
        if method in _IMAGE_METHODS and _IMAGE.fullmatch(path):
            return
        if method in _UPLOAD_METHODS and _UPLOAD.fullmatch(path):
            scope["state"][_UNCOUNTED] = True
            return
        await self._count(scope)

    async def count_stranger(self, scope: HTTPScope) -> None:
        """Count an upload's request that `count` skipped, because its caller is not identified.
        Raises `RateLimitedError`."""
        if scope["state"].pop(_UNCOUNTED, False):
            await self._count(scope)

    async def _count(self, scope: HTTPScope) -> None:
        """Count the address; nothing, if the connection has no address."""
        address = self._proxies.client(scope)
        if address:
            await self._limiter.count(address_group(address))


async def check_identity(request: AnyRequest) -> None:
    """Identify the caller before any other check of a request. Raises as `caller`, and
    `RateLimitedError`."""
    try:
        await caller(request)
    except (BusyError, IdentityRequiredError):
        addresses: AddressLimiter | None = request.app.state.addresses
        if addresses is not None:
            await addresses.count_stranger(request.scope)
        raise


async def check_json_writer(request: AnyRequest) -> None:
    """Check the caller's identity and the media type before a handler that reads JSON. Raises as
    `check_identity`, and `UnsupportedMediaTypeError`."""
    await check_identity(request)
    await json_only(request)


# For handlers that need an identity, and for those that also read JSON.
IDENTIFIED: Any = {"security": openapi.IDENTIFIED, "before_request": check_identity}
IDENTIFIED_JSON: Any = {**IDENTIFIED, "before_request": check_json_writer}

ROUTES = (get_limits,)
