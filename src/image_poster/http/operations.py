"""For operators and for clients that ask before they send: health, limits, who one is."""

from collections.abc import Awaitable, Callable

import msgspec
from litestar import Response, get

from image_poster.domain import errors
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
    UPLOAD_KEPT_MS,
    UPLOAD_PIECE_BYTES,
    WAIT_MAX_SECONDS,
    Limits,
)
from image_poster.http import openapi
from image_poster.http.auth import SignIn, authenticator, viewer
from image_poster.http.requests import AnyRequest, services
from image_poster.http.responses import json_response

Readiness = Callable[[], Awaitable[None]]


class FormatLimits(msgspec.Struct, frozen=True):
    """Of images of one format: to `certain_pixels` all are taken; what has more, up to
    `max_pixels`, is taken if decoding it needs at most `max_memory_bytes` (less bits a sample and
    no transparency help)."""

    certain_pixels: int
    max_memory_bytes: int


class ImageLimits(msgspec.Struct, frozen=True):
    """Of the image that is sent: bytes, those that may come as multipart in one request, pixels
    (width times height), pixels of a side, media types, and what holds for each of these."""

    max_bytes: int
    max_multipart_bytes: int
    max_pixels: int
    max_side: int
    formats: tuple[str, ...]
    by_format: dict[str, FormatLimits]


class TextLimit(msgspec.Struct, frozen=True):
    """Of a text: characters, after trimming."""

    max_characters: int


class PageLimits(msgspec.Struct, frozen=True):
    """Of lists: entries a page, and the latest comments that come with a post of the feed."""

    latest_comments_max: int
    default: int = FEED_PAGE_DEFAULT
    max: int = FEED_PAGE_MAX
    latest_comments_default: int = LATEST_DEFAULT


class UploadLimits(msgspec.Struct, frozen=True):
    """Of resumable uploads: the most bytes of a PATCH, those to send at a time, and how long an
    upload is kept."""

    max_piece_bytes: int
    recommended_piece_bytes: int = UPLOAD_PIECE_BYTES
    kept_seconds: int = UPLOAD_KEPT_MS // 1000


class LimitsBody(msgspec.Struct, frozen=True):
    """The limits in force. `requests_per_second` is null where none is set."""

    image: ImageLimits
    caption: TextLimit
    alt: TextLimit
    comment: TextLimit
    upload: UploadLimits
    page: PageLimits
    wait_max_seconds: int = WAIT_MAX_SECONDS
    requests_per_second: int | None = None


class Health(msgspec.Struct, frozen=True):
    """How the service is."""

    status: str


class Me(msgspec.Struct, frozen=True):
    """Who is asking, as others see them: `user` and `name` are null for nobody. `auth` is how one
    signs in; what does not apply is null."""

    user: str | None
    name: str | None
    admin: bool
    auth: SignIn


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


@get(
    "/me",
    operation_id="getMe",
    security=openapi.ANYONE,
    tags=["operations"],
    summary="Who am I, and how does one sign in?",
    responses=openapi.responses(
        {200: openapi.json_of(Me, "Who is asking.")}, errors.IdentityRequiredError
    ),
)
async def get_me(request: AnyRequest) -> Response[bytes]:
    """For anyone, also nobody. A token that does not hold is 401, here too."""
    who, sign_in = await viewer(request), authenticator(request).sign_in
    found = (
        Me(None, None, admin=False, auth=sign_in)
        if who is None
        else Me(who.user, who.name, admin=who.admin, auth=sign_in)
    )
    return json_response(msgspec.json.encode(found), headers={"cache-control": "no-store"})


@get(
    "/healthz",
    operation_id="getHealth",
    tags=["operations"],
    summary="Is the process alive?",
    responses=openapi.responses({200: openapi.json_of(Health, "It is.")}),
)
async def get_health() -> Response[bytes]:
    """Asks nothing of any store."""
    return json_response(msgspec.json.encode(Health("ok")))


@get(
    "/readyz",
    operation_id="getReadiness",
    tags=["operations"],
    summary="Can it take requests?",
    responses=openapi.responses({200: openapi.json_of(Health, "It can.")}, errors.NotReadyError),
)
async def get_readiness(request: AnyRequest) -> Response[bytes]:
    """503 exactly when a comment would be refused."""
    check: Readiness = request.app.state.readiness
    await check()
    return json_response(msgspec.json.encode(Health("ready")))


ROUTES = (get_me, get_limits, get_health, get_readiness)
