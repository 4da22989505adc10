"""Routes for the renditions, and for the originals, which only their creators may read."""

import re

from litestar import get
from litestar.params import FromPath

from image_poster.domain import errors
from image_poster.domain.ids import is_id
from image_poster.domain.images import RENDITIONS, SNIFF_BYTES, sniff
from image_poster.http import openapi
from image_poster.http.auth import caller
from image_poster.http.fast import EncodedResponse, FastRequest, FastRoute
from image_poster.http.forwarded import TrustedProxies, peer_of
from image_poster.http.limits import IDENTIFIED
from image_poster.http.requests import AnyRequest, require_post_id, services
from image_poster.http.responses import IMMUTABLE, PRIVATE, FileResponse, file_response, ready_file
from image_poster.ports.images import RemoteFile, StoredFile
from image_poster.services.registry import Services

_JPEG = "image/jpeg"
_RANGED = {b"range", b"if-range"}
_FORWARDED_FOR = b"x-forwarded-for"
_FILES = {f"{name}.jpg": name for name in RENDITIONS}


@get(
    "/images/{post_id:str}/{file_name:str}",
    operation_id="getImage",
    tags=["images"],
    summary="A rendition",
    responses=openapi.responses(
        {
            200: openapi.bytes_of(_JPEG, "A JPEG in sRGB without metadata."),
            206: openapi.bytes_of(_JPEG, "The range that was asked for."),
            302: openapi.nothing("Where it is (AWS)."),
            304: openapi.nothing("You have it already."),
        },
        errors.ImageNotFoundError,
        errors.RangeNotSatisfiableError,
    ),
)
async def get_image(
    request: AnyRequest, post_id: FromPath[str], file_name: FromPath[str]
) -> FileResponse:
    """`600.jpg` is the square, `1600.jpg` the whole image."""
    if not is_id(post_id) or file_name not in _FILES:
        raise errors.ImageNotFoundError
    file = await services(request).images.rendition(post_id, _FILES[file_name])
    senders: TrustedProxies = request.app.state.file_senders
    forwarded = "x-forwarded-for" in request.headers
    by_proxy = senders.between(peer_of(request.scope), forwarded=forwarded)
    return await file_response(request, file, _JPEG, IMMUTABLE, by_proxy=by_proxy)


@get(
    "/posts/{post_id:str}/original",
    operation_id="getOriginal",
    **IDENTIFIED,
    tags=["images"],
    summary="The untouched upload",
    responses=openapi.responses(
        {
            200: openapi.bytes_of("image/*", "The file as it was uploaded."),
            206: openapi.bytes_of("image/*", "The range that was asked for."),
            302: openapi.nothing("Where it is, for some minutes (AWS)."),
            304: openapi.nothing("You have it already."),
        },
        errors.IdentityRequiredError,
        errors.NotYoursError,
        errors.PostNotFoundError,
        errors.ImageNotFoundError,
        errors.RangeNotSatisfiableError,
    ),
)
async def get_original(request: AnyRequest, post_id: FromPath[str]) -> FileResponse:
    """For the post's creator only: it still holds all metadata, such as where it was taken."""
    file = await services(request).images.original(require_post_id(post_id), await caller(request))
    return await file_response(request, file, await _original_type(file), PRIVATE)


async def _original_type(file: StoredFile | RemoteFile) -> str:
    """The media type by the file's content; a remote file has its own."""
    found = None if isinstance(file, RemoteFile) else sniff(await file.read(0, SNIFF_BYTES))
    return found or "application/octet-stream"


ROUTES = (get_image, get_original)


def fast_route(found: Services, senders: TrustedProxies) -> FastRoute:
    """The fast path of `get_image`: small local renditions as a whole, and any that `senders`
    send."""

    async def answer(asked: FastRequest) -> EncodedResponse | None:
        post_id, rendition = asked.found
        if asked.query or not is_id(post_id) or not _RANGED.isdisjoint(asked.headers):
            return None
        file = await found.images.rendition(post_id, rendition)
        if isinstance(file, RemoteFile):
            return None
        by_proxy = senders.between(asked.peer, forwarded=_FORWARDED_FOR in asked.headers)
        return await ready_file(asked.headers, file, _JPEG, IMMUTABLE, by_proxy=by_proxy)

    pattern = re.compile(rf"/images/([^/]+)/({'|'.join(RENDITIONS)})\.jpg")
    return FastRoute("/images/{post_id:str}/{file_name:str}", pattern, answer)
