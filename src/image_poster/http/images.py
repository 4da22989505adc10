"""Routes for the renditions, and for the originals, which only their creators may read."""

import re
from typing import cast

from litestar import Response, get
from litestar.params import FromPath

from image_poster.domain import errors
from image_poster.domain.identity import Identity
from image_poster.domain.ids import is_id
from image_poster.domain.images import RENDITIONS, SNIFF_BYTES, sniff
from image_poster.http import openapi
from image_poster.http.addresses import TrustedProxies
from image_poster.http.auth import require_identity
from image_poster.http.requests import AnyRequest, is_head, require_id, services
from image_poster.http.responses import (
    FILE_CHUNK_BYTES,
    IMMUTABLE,
    PRIVATE,
    FastRequest,
    FastRoute,
    FileResponse,
    file_response,
)
from image_poster.ports.images import RemoteFile
from image_poster.services.images import ImageService

_JPEG = "image/jpeg"
_RANGED = {b"range", b"if-range"}
_FILES = {f"{name}.jpg": name for name in RENDITIONS}


def _file_responses(media_type: str, whole: str, redirect: str) -> openapi.Responses:
    """The successful responses of a route for files; `whole` and `redirect` describe two of
    them."""
    return {
        200: openapi.response(whole, bytes, media_type),
        206: openapi.response("The requested range.", bytes, media_type),
        302: openapi.response(redirect),
        304: openapi.response("Your copy is current."),
    }


@get(
    "/images/{post_id:str}/{file_name:str}",
    **openapi.public(
        "images",
        _file_responses(
            _JPEG, "A JPEG in sRGB without metadata.", "Location has the URL of the image (AWS)."
        ),
        *(errors.ImageNotFoundError, errors.RangeNotSatisfiableError),
    ),
)
async def get_image(
    request: AnyRequest, post_id: FromPath[str], file_name: FromPath[str]
) -> FileResponse:
    """A rendition.

    `600.jpg` is the square, `1600.jpg` the whole image.
    """
    if not is_id(post_id) or file_name not in _FILES:
        raise errors.ImageNotFoundError
    file = await services(request).images.rendition(post_id, _FILES[file_name])
    senders: TrustedProxies = request.app.state.file_senders
    return await file_response(
        request.headers,
        file,
        _JPEG,
        IMMUTABLE,
        is_head=is_head(request),
        by_proxy=senders.have_forwarded(request.scope),
    )


def fast_route(service: ImageService, senders: TrustedProxies) -> FastRoute:
    """The fast path of `get_image`: small local renditions as a whole, and all local ones for
    requests through `senders`, the proxies that send files themselves."""

    async def answer(request: FastRequest) -> Response[bytes] | None:
        post_id, rendition = request.groups
        if request.scope["query_string"] or not _RANGED.isdisjoint(request.headers):
            return None
        if not is_id(post_id):
            return None
        file = await service.rendition(post_id, rendition)
        if isinstance(file, RemoteFile):
            return None
        by_proxy = senders.have_forwarded(request.scope)
        if file.size > FILE_CHUNK_BYTES and not (by_proxy and file.place):
            file.close()
            return None
        response = file_response(request.conditions, file, _JPEG, IMMUTABLE, by_proxy=by_proxy)
        return cast("Response[bytes]", await response)  # neither remote nor a stream

    pattern = re.compile(rf"/images/([^/]+)/({'|'.join(RENDITIONS)})\.jpg")
    return FastRoute("/images/{post_id:str}/{file_name:str}", pattern, answer)


@get(
    "/posts/{post_id:str}/original",
    **openapi.identified(
        "images",
        _file_responses(
            "image/*",
            "The file as it was uploaded.",
            "Location has the URL of the file, valid for some minutes (AWS).",
        ),
        *(errors.NotYoursError, errors.PostNotFoundError),
        *(errors.ImageNotFoundError, errors.RangeNotSatisfiableError),
    ),
)
async def get_original(request: AnyRequest, post_id: FromPath[str]) -> FileResponse:
    """The original image.

    For the post's creator only, because it has all metadata, such as the place of the photo.
    """
    caller = await require_identity(request)
    file = await services(request).images.original(require_id(post_id), caller)
    # A remote file has a media type of its own.
    head = b"" if isinstance(file, RemoteFile) else await file.read(0, SNIFF_BYTES)
    media_type = sniff(head) or "application/octet-stream"
    return await file_response(request.headers, file, media_type, PRIVATE, is_head=is_head(request))


_PRIVATE_RESPONSES = _file_responses(
    _JPEG,
    "A JPEG in sRGB without metadata.",
    "Location has the URL of the image, valid for some minutes (AWS).",
)
_PRIVATE_ERRORS = (errors.ImageNotFoundError, errors.RangeNotSatisfiableError)


@get(
    "/me/images/{post_id:str}/{file_name:str}",
    **openapi.identified("accounts", _PRIVATE_RESPONSES, _PRIVATE_ERRORS),
)
async def get_own_image(
    request: AnyRequest, post_id: FromPath[str], file_name: FromPath[str]
) -> FileResponse:
    """A rendition of one's own post, also while the post is not public."""
    caller = await require_identity(request)
    return await _withheld_response(request, post_id, file_name, caller, for_admins=False)


@get(
    "/moderation/images/{post_id:str}/{file_name:str}",
    **openapi.admin("moderation", _PRIVATE_RESPONSES, _PRIVATE_ERRORS),
)
async def get_moderated_image(
    request: AnyRequest, post_id: FromPath[str], file_name: FromPath[str]
) -> FileResponse:
    """A rendition of a post that is not public, for admins."""
    caller = await require_identity(request)
    return await _withheld_response(request, post_id, file_name, caller, for_admins=True)


async def _withheld_response(
    request: AnyRequest, post_id: str, file_name: str, viewer: Identity, *, for_admins: bool
) -> FileResponse:
    if not is_id(post_id) or file_name not in _FILES:
        raise errors.ImageNotFoundError
    images, rendition = services(request).images, _FILES[file_name]
    file = await images.withheld_rendition(post_id, rendition, viewer, for_admins=for_admins)
    return await file_response(
        request.headers, file, _JPEG, PRIVATE, is_head=is_head(request)
    )


ROUTES = (get_image, get_original, get_own_image, get_moderated_image)
