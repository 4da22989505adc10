"""Routes for the renditions, and for the originals, which only their creators may read."""

import re
from typing import cast
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery

from image_poster.domain import errors
from image_poster.domain.identity import Identity
from image_poster.domain.ids import is_id
from image_poster.domain.images import RENDITIONS, SNIFF_BYTES, sniff
from image_poster.domain.posts import image_url
from image_poster.domain.signing import BadSignatureError, Signer
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
_GRANT = "image"
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
    request: AnyRequest,
    post_id: FromPath[str],
    file_name: FromPath[str],
    grant: FromQuery[str | None] = None,
) -> FileResponse:
    """A rendition.

    `600.jpg` is the square, `1600.jpg` the whole image. The review hook gets a signed URL with
    `grant`, for an image that is not public.
    """
    if not is_id(post_id) or file_name not in _FILES:
        raise errors.ImageNotFoundError
    if grant is not None:
        return await _granted_response(request, post_id, _FILES[file_name], grant)
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


class ImageGrant(msgspec.Struct, frozen=True):
    """The permission of a signed URL: one rendition, until `expires_ms` (since 1970)."""

    post_id: str
    rendition: str
    expires_ms: int


class ImageGrants:
    """Signs and checks URLs of renditions that are not public."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def path(self, post_id: str, rendition: str, expires_ms: int) -> str:
        """The path of a rendition with its signed query."""
        grant = self._signer.write(_GRANT, ImageGrant(post_id, rendition, expires_ms))
        return f"{image_url(post_id, rendition)}?{urlencode({'grant': grant})}"

    def check(self, grant: str, post_id: str, rendition: str, now_ms: int) -> None:
        """Raises `ImageNotFoundError` for a changed or expired grant, and for another image's."""
        try:
            signed = self._signer.read(_GRANT, grant, ImageGrant)
        except BadSignatureError as exc:
            raise errors.ImageNotFoundError from exc
        if (signed.post_id, signed.rendition) != (post_id, rendition) or signed.expires_ms < now_ms:
            raise errors.ImageNotFoundError


async def _granted_response(
    request: AnyRequest, post_id: str, rendition: str, grant: str
) -> FileResponse:
    grants: ImageGrants | None = request.app.state.image_grants
    stores = services(request).stores
    if grants is None:
        raise errors.ImageNotFoundError
    grants.check(grant, post_id, rendition, stores.clock.now_ms())
    file = await stores.images.open_withheld(post_id, rendition)
    return await file_response(request.headers, file, _JPEG, PRIVATE, is_head=is_head(request))


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
    return await file_response(request.headers, file, _JPEG, PRIVATE, is_head=is_head(request))


ROUTES = (get_image, get_original, get_own_image, get_moderated_image)
