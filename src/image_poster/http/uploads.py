"""Resumable uploads: tus 1.0.0 over HTTP, and PUT to a signed URL. This module reads and writes the
headers; the protocol's rules are in `tus/`."""

from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import urlencode

import msgspec
from litestar import Response, delete, get, patch, post, put, route
from litestar.openapi.spec import Parameter
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, FromQuery

from image_poster import tus
from image_poster.domain import errors
from image_poster.domain.ids import is_id, rfc3339
from image_poster.domain.images import declared_format
from image_poster.domain.posts import PostTexts
from image_poster.domain.signing import BadSignatureError, Signer
from image_poster.domain.uploads import PutTarget, PutTerms, UploadOrder, has_expired
from image_poster.http import openapi, requests
from image_poster.http.auth import caller
from image_poster.http.idempotency import idempotency_key, in_flight
from image_poster.http.limits import IDENTIFIED, writer
from image_poster.http.problems import allow
from image_poster.ports.clock import Clock
from image_poster.services.uploads import Patch, UploadProgress

PATH = "/uploads"
_ONE = f"{PATH}/{{post_id:str}}"
_METHODS = ("GET", "PATCH", "PUT", "DELETE")
_PUT = "put"
_NO_STORE = "no-store"


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
            found = self._signer.read(_PUT, grant, PutGrant)
        except BadSignatureError as exc:
            raise errors.UploadUrlInvalidError from exc
        times = {"service_ms": clock.service_ms(), "now_ms": clock.now_ms()}
        if found.post_id != post_id or has_expired(post_id, found.expires_ms, **times):
            raise errors.UploadUrlInvalidError
        return found


_TUS = openapi.header("Tus-Resumable", const=tus.VERSION)
_LENGTH = openapi.header("Upload-Length", required=False, type=OpenAPIType.INTEGER, minimum=1)
_CHECKSUM = openapi.header("Upload-Checksum", required=False)
_CREATION: tuple[Parameter, ...] = (
    _TUS,
    openapi.IDEMPOTENCY_KEY,
    _LENGTH,
    openapi.header("Upload-Defer-Length", required=False, const="1"),
    openapi.header("Upload-Metadata", required=False),
    _CHECKSUM,
)
_OFFSET = openapi.header("Upload-Offset", type=OpenAPIType.INTEGER, minimum=0)
_BODY = {tus.CONTENT_TYPE: openapi.BYTES}
_FINDING_ERRORS = (
    errors.IdentityRequiredError,
    errors.InvalidTusRequestError,
    errors.UploadNotFoundError,
    errors.MethodNotAllowedError,
    errors.UploadGoneError,
    errors.TusVersionUnsupportedError,
    errors.ChecksumMismatchError,
    errors.ValidationFailedError,
    errors.StorageFullError,
    errors.BusyError,
)
_RECEIVING_ERRORS = (
    errors.IdentityRequiredError,
    errors.PieceTooLargeError,
    errors.InvalidTusRequestError,
    errors.TusVersionUnsupportedError,
    errors.UploadTooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.UnsupportedImageError,
    errors.ValidationFailedError,
    errors.ChecksumMismatchError,
    errors.UploadTakenOverError,
    errors.StorageFullError,
    errors.BusyError,
)


@route([PATH, _ONE], http_method=["OPTIONS"], include_in_schema=False)
async def discover(request: requests.AnyRequest) -> Response[bytes]:
    """Core, OPTIONS: what this server can do."""
    found = {
        "tus-resumable": tus.VERSION,
        "tus-version": tus.VERSION,
        "tus-extension": ",".join(tus.EXTENSIONS),
        "tus-max-size": str(requests.services(request).limits.image_bytes),
        "tus-checksum-algorithm": ",".join(tus.CHECKSUM_ALGORITHMS),
        "allow": allow(_METHODS if request.path_params else ("POST",)),
    }
    return Response(b"", status_code=204, headers=found)


@post(
    PATH,
    operation_id="createUpload",
    tags=["uploads"],
    **IDENTIFIED,
    operation_class=openapi.operation(*_CREATION, body=_BODY),
    request_max_body_size=None,
    summary="Begin a resumable upload",
    responses=openapi.responses(
        {201: openapi.nothing("Begun; Location says where.")},
        *_RECEIVING_ERRORS,
        errors.ConcatenationUnsupportedError,
        errors.IdempotencyKeyReusedError,
        errors.RequestInProgressError,
        errors.GoneError,
    ),
)
async def create_upload(request: requests.AnyRequest) -> Response[bytes]:
    """Tus 1.0.0, Creation, POST; with a body, Creation With Upload. `Upload-Metadata` takes
    `caption` and `alt`; the upload's id is that of the post it becomes."""
    tus.check_version(request.headers.get("tus-resumable"))
    tus.check_not_joined(request.headers.get("upload-concat"))
    requests.check_coding(request)
    creator, key = await writer(request), idempotency_key(request)
    uploads = requests.services(request).uploads
    requests.count_unread_body(request, uploads.refused_bytes.upload_quota.charge, creator.user)
    with in_flight(request).running(creator, key):
        answer, upload = await uploads.reserve_by_tus(creator, _order(request), key)
    found, state = {"location": answer.location}, UploadProgress(upload, 0)
    post_id = answer.location.rpartition("/")[2]
    if answer.replayed:
        found["idempotent-replayed"] = "true"
        state = await uploads.state(post_id, creator)
    elif _has_bytes(request):
        first = Patch(0, requests.declared_bytes(request), checksum=_checksum(request))
        state = await uploads.append(post_id, creator, first, requests.body_chunks(request))
    return _state_response(201, state, found)


# (As for DELETE below: what is answered to GET is 204.)
@get(
    _ONE,
    operation_id="findUpload",
    tags=["uploads"],
    **IDENTIFIED,
    operation_class=openapi.operation(_TUS),
    summary="How far an upload is",
    responses=openapi.responses(
        {204: openapi.nothing("`Upload-Offset` bytes are there.")}, *_FINDING_ERRORS
    ),
)
async def find_upload(request: requests.AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Tus 1.0.0, Core, HEAD. GET says the same, since caching proxies ask with GET when they are
    asked with HEAD (nginx: `proxy_cache_convert_head`)."""
    tus.check_version(request.headers.get("tus-resumable"))
    state = await requests.services(request).uploads.state(
        _known_upload(post_id), await caller(request)
    )
    upload = state.upload
    found = {"cache-control": _NO_STORE}
    if upload.length is None:
        found["upload-defer-length"] = "1"
    else:
        found["upload-length"] = str(upload.length)
    if upload.metadata:
        found["upload-metadata"] = upload.metadata
    is_head = request.scope["state"].get("is_head", False)
    return _state_response(200 if is_head else 204, state, found)


@patch(
    _ONE,
    operation_id="appendToUpload",
    tags=["uploads"],
    **IDENTIFIED,
    operation_class=openapi.operation(_TUS, _OFFSET, _LENGTH, _CHECKSUM, body=_BODY),
    request_max_body_size=None,
    summary="Send bytes",
    responses=openapi.responses(
        {204: openapi.nothing("It is there; `Upload-Offset` says how far the upload is.")},
        *_FINDING_ERRORS,
        *_RECEIVING_ERRORS,
        errors.OffsetMismatchError,
    ),
)
async def append_to_upload(request: requests.AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Tus 1.0.0, Core, PATCH. What came before a cut is kept, and the next request goes on."""
    who, uploads = await caller(request), requests.services(request).uploads
    requests.count_unread_body(request, uploads.refused_bytes.count_unread, post_id, who.user)
    tus.check_version(request.headers.get("tus-resumable"))
    if not _has_bytes(request):
        raise errors.UnsupportedMediaTypeError(
            "Send Content-Type: application/offset+octet-stream."
        )
    requests.check_coding(request)
    sent = Patch(
        offset=tus.number("Upload-Offset", request.headers.get("upload-offset")),
        declared_bytes=requests.declared_bytes(request),
        length=_declared_length(request),
        checksum=_checksum(request),
    )
    chunks = requests.body_chunks(request)
    state = await uploads.append(_known_upload(post_id), who, sent, chunks)
    return _state_response(204, state, {})


# (The answer's own status is 204; Litestar wants another here for a handler that answers.)
@delete(
    _ONE,
    status_code=200,
    operation_id="terminateUpload",
    tags=["uploads"],
    **IDENTIFIED,
    operation_class=openapi.operation(_TUS),
    summary="End an upload",
    responses=openapi.responses(
        {204: openapi.nothing("Ended, and its post is gone.")}, *_FINDING_ERRORS
    ),
)
async def terminate_upload(request: requests.AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Tus 1.0.0, Termination, DELETE: of a complete upload too, and that is the post."""
    tus.check_version(request.headers.get("tus-resumable"))
    await requests.services(request).uploads.terminate(
        _known_upload(post_id), await writer(request)
    )
    return Response(b"", status_code=204, headers={"tus-resumable": tus.VERSION})


@put(
    _ONE,
    status_code=204,
    operation_id="putUpload",
    tags=["uploads"],
    operation_class=openapi.operation(body={"image/*": openapi.BYTES}, required=True),
    request_max_body_size=None,
    summary="Send the whole image in one go",
    responses=openapi.responses(
        {204: openapi.nothing("It is there.")},
        errors.InvalidRequestError,
        errors.UploadUrlInvalidError,
        errors.UploadNotFoundError,
        errors.UploadTakenOverError,
        errors.UploadGoneError,
        errors.UploadTooLargeError,
        errors.UnsupportedMediaTypeError,
        errors.UnsupportedImageError,
        errors.ValidationFailedError,
        errors.ChecksumMismatchError,
        errors.StorageFullError,
        errors.BusyError,
    ),
)
async def put_upload(
    request: requests.AnyRequest, post_id: FromPath[str], grant: FromQuery[str] = ""
) -> None:
    """At the signed URL that `POST /posts` answered, by whoever has it. Repeating it is
    harmless."""
    urls: HmacPutUrlSigner = request.app.state.put_urls
    found = requests.services(request)
    granted = urls.check(grant, _known_upload(post_id), found.stores.clock)
    requests.count_unread_body(request, found.uploads.refused_bytes.count_unread, post_id, None)
    if declared_format(requests.media_type(request)) is not declared_format(granted.content_type):
        raise errors.UnsupportedMediaTypeError(f"Send Content-Type: {granted.content_type}.")
    requests.check_coding(request)
    declared = requests.declared_bytes(request)
    await found.uploads.put(post_id, declared, requests.body_chunks(request))


def _known_upload(post_id: str) -> str:
    if not is_id(post_id):
        raise errors.UploadNotFoundError
    return post_id


def _order(request: requests.AnyRequest) -> UploadOrder:
    sent = request.headers.get("upload-metadata", "")
    found = tus.metadata(sent)
    return UploadOrder(
        length=tus.new_length(
            request.headers.get("upload-length"), request.headers.get("upload-defer-length")
        ),
        texts=PostTexts(found.get("caption", ""), found.get("alt", "")),
        metadata=sent,
        content_type=_known_type(found.get("filetype", "")),
    )


def _known_type(told: str) -> str:
    """The client's media type of the file, if it is a supported format; else empty."""
    return told.lower() if declared_format(told) is not None else ""


def _has_bytes(request: requests.AnyRequest) -> bool:
    return tus.has_bytes(request.headers.get("content-type"))


def _declared_length(request: requests.AnyRequest) -> int | None:
    declared = request.headers.get("upload-length")
    return None if declared is None else tus.number("Upload-Length", declared)


def _checksum(request: requests.AnyRequest) -> tus.Checksum | None:
    return tus.checksum(request.headers.get("upload-checksum"))


def _state_response(status: int, state: UploadProgress, more: dict[str, str]) -> Response[bytes]:
    expires = datetime.fromtimestamp(state.upload.expires_ms / 1000, UTC)
    found = {
        "tus-resumable": tus.VERSION,
        "upload-offset": str(state.offset),
        "upload-expires": format_datetime(expires, usegmt=True),
        **more,
    }
    return Response(b"", status_code=status, headers=found)


ROUTES = (discover, create_upload, find_upload, append_to_upload, terminate_upload, put_upload)
