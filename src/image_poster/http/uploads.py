"""Resumable uploads: tus 1.0.0 over HTTP, and PUT to a signed URL. This module reads and writes the
headers; the protocol's rules are in `tus/`."""

from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import urlencode

import msgspec
from litestar import Response, delete, get, patch, post, put, route
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, FromQuery

from image_poster import tus
from image_poster.domain import errors
from image_poster.domain.ids import rfc3339
from image_poster.domain.images import declared_format
from image_poster.domain.posts import PostTexts
from image_poster.domain.signing import BadSignatureError, Signer
from image_poster.domain.uploads import PutTarget, PutTerms, UploadOrder, has_expired
from image_poster.http import openapi, requests
from image_poster.http.auth import identify_writer, require_identity
from image_poster.http.problems import allow
from image_poster.ports import Clock
from image_poster.services.uploads import Patch, UploadProgress

PATH = "/uploads"
_UPLOAD = f"{PATH}/{{post_id:str}}"
_METHODS = ("GET", "PATCH", "PUT", "DELETE")
_PUT = "put"


class PutBody(msgspec.Struct, frozen=True):
    """A URL for the whole image in one `PUT`, until `expires_at`, with exactly these headers. The
    URL may be relative to the service, or of another host."""

    url: str
    headers: dict[str, str]
    expires_at: str


class UploadBody(msgspec.Struct, frozen=True):
    """URLs for the image's bytes: `tus` for a resumable upload, `put` for one request. `put` is
    null if the upload's length is unknown."""

    tus: str
    put: PutBody | None


class PutGrant(msgspec.Struct, frozen=True, array_like=True):
    """The content of a signed URL: the post, the media type, and the expiry."""

    post_id: str
    content_type: str
    expires_ms: int


class HmacPutUrlSigner:
    """`PutUrlSigner` for URLs of this service, with a signature in the query. Size and digest are
    not signed: they are stored with the upload."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def sign(self, post_id: str, terms: PutTerms, expires_ms: int) -> PutTarget:
        grant = self._signer.write(_PUT, PutGrant(post_id, terms.content_type, expires_ms))
        return PutTarget(
            url=f"{PATH}/{post_id}?{urlencode({'grant': grant})}",
            headers={"content-type": terms.content_type},
            expires_at=rfc3339(expires_ms),
        )

    def check(self, grant: str, post_id: str, clock: Clock) -> PutGrant:
        """The permissions of the URL with this `grant`. Raises `UploadUrlInvalidError` for a
        changed or expired grant, and for another upload's."""
        try:
            signed = self._signer.read(_PUT, grant, PutGrant)
        except BadSignatureError as exc:
            raise errors.UploadUrlInvalidError from exc
        times = {"service_ms": clock.service_ms(), "now_ms": clock.now_ms()}
        if signed.post_id != post_id or has_expired(post_id, signed.expires_ms, **times):
            raise errors.UploadUrlInvalidError
        return signed


_TUS = openapi.header("Tus-Resumable", const=tus.VERSION)
_LENGTH = openapi.header("Upload-Length", required=False, type=OpenAPIType.INTEGER, minimum=1)
_CHECKSUM = openapi.header("Upload-Checksum", required=False)
_OFFSET = openapi.header("Upload-Offset", type=OpenAPIType.INTEGER, minimum=0)
_CREATION: openapi.Group = (
    _TUS,
    *openapi.KEYED,
    _LENGTH,
    openapi.header("Upload-Defer-Length", required=False, const="1"),
    openapi.header("Upload-Metadata", required=False),
    _CHECKSUM,
    errors.ConcatenationUnsupportedError,
)
_FIND_ERRORS: openapi.Group = (
    errors.InvalidTusRequestError,
    errors.UploadNotFoundError,
    errors.MethodNotAllowedError,
    errors.UploadGoneError,
    errors.TusVersionUnsupportedError,
    errors.ChecksumMismatchError,
    errors.ValidationFailedError,
)
_BYTES: openapi.Group = (
    errors.BannedError,
    *openapi.IMAGE_BODY,
    errors.ChecksumMismatchError,
    errors.UploadTakenOverError,
)
_TUS_BYTES: openapi.Group = (
    openapi.body_of({tus.CONTENT_TYPE: openapi.BYTES}, required=False),
    *_BYTES,
    errors.PieceTooLargeError,
    errors.InvalidTusRequestError,
    errors.TusVersionUnsupportedError,
)


@route([PATH, _UPLOAD], http_method=["OPTIONS"], include_in_schema=False)
async def discover(request: requests.AnyRequest) -> Response[bytes]:
    """The protocol's versions and extensions (tus 1.0.0, Core, OPTIONS)."""
    headers = {
        "tus-resumable": tus.VERSION,
        "tus-version": tus.VERSION,
        "tus-extension": ",".join(tus.EXTENSIONS),
        "tus-max-size": str(requests.services(request).limits.image_bytes),
        "tus-checksum-algorithm": ",".join(tus.CHECKSUM_ALGORITHMS),
        "allow": allow(_METHODS if request.path_params else ("POST",)),
    }
    return Response(b"", status_code=204, headers=headers)


@post(
    PATH,
    **openapi.writer(
        "uploads",
        {201: openapi.response("The upload was created; Location has its URL.")},
        *(_CREATION, _TUS_BYTES),
    ),
    request_max_body_size=None,
)
async def create_upload(request: requests.AnyRequest) -> Response[bytes]:
    """Begin a resumable upload.

    Tus 1.0.0, Creation, POST; with a body, Creation With Upload. `Upload-Metadata` may have
    `caption` and `alt`. The upload's id is that of its post.
    """
    tus.check_version(request.headers.get("tus-resumable"))
    tus.check_not_joined(request.headers.get("upload-concat"))
    requests.check_coding(request)
    creator, key = await identify_writer(request), requests.idempotency_key(request)
    uploads = requests.services(request).uploads
    requests.count_unread_body(request, uploads.refused_bytes.upload_quota.charge, creator.user)
    with requests.in_flight(request, creator, key):
        answer, upload = await uploads.reserve_by_tus(creator, _order(request), key)
    headers, state = {"location": answer.location}, UploadProgress(upload, 0)
    post_id = answer.location.rpartition("/")[2]
    if answer.replayed:
        headers["idempotent-replayed"] = "true"
        state = await uploads.state(post_id, creator)
    elif _has_upload_type(request):
        first = Patch(0, requests.declared_bytes(request), checksum=_checksum(request))
        state = await uploads.append(post_id, creator, first, requests.body_chunks(request))
    return _state_response(201, state, headers)


@get(
    _UPLOAD,
    **openapi.writer(
        "uploads", {204: openapi.response("`Upload-Offset` bytes are stored.")}, _TUS, _FIND_ERRORS
    ),
)
async def find_upload(request: requests.AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """The offset of an upload.

    Tus 1.0.0, Core, HEAD. GET answers the same, because caching proxies convert HEAD to GET (nginx:
    `proxy_cache_convert_head`).
    """
    tus.check_version(request.headers.get("tus-resumable"))
    post_id, caller = _require_id(post_id), await require_identity(request)
    state = await requests.services(request).uploads.state(post_id, caller)
    upload, headers = state.upload, {"cache-control": "no-store"}
    if upload.length is None:
        headers["upload-defer-length"] = "1"
    else:
        headers["upload-length"] = str(upload.length)
    if upload.metadata:
        headers["upload-metadata"] = upload.metadata
    return _state_response(200 if requests.is_head(request) else 204, state, headers)


@patch(
    _UPLOAD,
    **openapi.writer(
        "uploads",
        {204: openapi.response("The bytes are stored; `Upload-Offset` is the new offset.")},
        *(_TUS, _OFFSET, _LENGTH, _CHECKSUM, _FIND_ERRORS, _TUS_BYTES, errors.OffsetMismatchError),
    ),
    request_max_body_size=None,
)
async def append_to_upload(request: requests.AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Send bytes.

    Tus 1.0.0, Core, PATCH. The bytes before a cut are stored, and the next request continues.
    """
    caller, uploads = await require_identity(request), requests.services(request).uploads
    requests.count_unread_body(request, uploads.refused_bytes.count_unread, post_id, caller.user)
    tus.check_version(request.headers.get("tus-resumable"))
    if not _has_upload_type(request):
        raise errors.UnsupportedMediaTypeError(
            "Send Content-Type: application/offset+octet-stream."
        )
    requests.check_coding(request)
    length = request.headers.get("upload-length")
    piece = Patch(
        offset=tus.number("Upload-Offset", request.headers.get("upload-offset")),
        declared_bytes=requests.declared_bytes(request),
        length=None if length is None else tus.number("Upload-Length", length),
        checksum=_checksum(request),
    )
    chunks = requests.body_chunks(request)
    state = await uploads.append(_require_id(post_id), caller, piece, chunks)
    return _state_response(204, state, {})


# The response has status 204. Litestar refuses 204 as the `status_code` of a handler that returns a
# response, so another one stands here.
@delete(
    _UPLOAD,
    **openapi.writer(
        "uploads",
        {204: openapi.response("The upload and its post were deleted.")},
        _TUS,
        _FIND_ERRORS,
    ),
    status_code=200,
)
async def terminate_upload(request: requests.AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Delete an upload.

    Tus 1.0.0, Termination, DELETE. If the upload is complete, this deletes its post.
    """
    tus.check_version(request.headers.get("tus-resumable"))
    post_id = _require_id(post_id)
    caller = await identify_writer(request, while_banned=True)
    await requests.services(request).uploads.terminate(post_id, caller)
    return Response(b"", status_code=204, headers={"tus-resumable": tus.VERSION})


@put(
    _UPLOAD,
    **openapi.public(
        "uploads",
        {204: openapi.response("The image is stored.")},
        *(openapi.body_of({"image/*": openapi.BYTES}, required=True), _BYTES),
        *(errors.InvalidRequestError, errors.UploadUrlInvalidError, errors.UploadNotFoundError),
        *(errors.UploadGoneError, errors.StorageFullError, errors.BusyError),
    ),
    status_code=204,
    request_max_body_size=None,
)
async def put_upload(
    request: requests.AnyRequest, post_id: FromPath[str], grant: FromQuery[str] = ""
) -> None:
    """Send the whole image in one request.

    The URL is the signed one in the answer of `POST /posts`; any client that has it may send. A
    repeated request changes nothing.
    """
    urls: HmacPutUrlSigner = request.app.state.put_urls
    services = requests.services(request)
    signed = urls.check(grant, _require_id(post_id), services.stores.clock)
    requests.count_unread_body(request, services.uploads.refused_bytes.count_unread, post_id, None)
    if declared_format(requests.media_type(request)) is not declared_format(signed.content_type):
        raise errors.UnsupportedMediaTypeError(f"Send Content-Type: {signed.content_type}.")
    requests.check_coding(request)
    size = requests.declared_bytes(request)
    await services.uploads.put(post_id, size, requests.body_chunks(request))


def _require_id(post_id: str) -> str:
    return requests.require_id(post_id, errors.UploadNotFoundError)


def _order(request: requests.AnyRequest) -> UploadOrder:
    """The upload that the request's headers ask for."""
    header = request.headers.get("upload-metadata", "")
    metadata, length = tus.metadata(header), request.headers.get("upload-length")
    content_type = metadata.get("filetype", "").lower()
    return UploadOrder(
        length=tus.new_length(length, request.headers.get("upload-defer-length")),
        texts=PostTexts(metadata.get("caption", ""), metadata.get("alt", "")),
        metadata=header,
        content_type=content_type if declared_format(content_type) is not None else "",
    )


def _has_upload_type(request: requests.AnyRequest) -> bool:
    """Return True if the body's media type is that of an upload's bytes."""
    return tus.has_bytes(request.headers.get("content-type"))


def _checksum(request: requests.AnyRequest) -> tus.Checksum | None:
    return tus.checksum(request.headers.get("upload-checksum"))


def _state_response(status: int, state: UploadProgress, more: dict[str, str]) -> Response[bytes]:
    expires = datetime.fromtimestamp(state.upload.expires_ms / 1000, UTC)
    headers = {
        "tus-resumable": tus.VERSION,
        "upload-offset": str(state.offset),
        "upload-expires": format_datetime(expires, usegmt=True),
        **more,
    }
    return Response(b"", status_code=status, headers=headers)


ROUTES = (discover, create_upload, find_upload, append_to_upload, terminate_upload, put_upload)
