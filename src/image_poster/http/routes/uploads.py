"""Resumable uploads: tus 1.0.0 over HTTP. The rules are in `tus/`; here headers go in and out."""

from datetime import UTC, datetime
from email.utils import format_datetime

from litestar import Response, delete, get, patch, post, put, route
from litestar.params import FromPath, FromQuery

from image_poster.domain.errors import (
    BusyError,
    ChecksumMismatchError,
    IdempotencyKeyReusedError,
    IdentityRequiredError,
    InvalidRequestError,
    InvalidTusRequestError,
    MethodNotAllowedError,
    OffsetMismatchError,
    PieceTooLargeError,
    RequestInProgressError,
    StorageFullError,
    TusVersionUnsupportedError,
    UnsupportedImageError,
    UnsupportedMediaTypeError,
    UploadGoneError,
    UploadNotFoundError,
    UploadTakenOverError,
    UploadTooLargeError,
    UploadUrlInvalidError,
    ValidationFailedError,
)
from image_poster.domain.ids import is_id
from image_poster.http.auth import caller
from image_poster.http.bodies import body_chunks, media_type
from image_poster.http.document_requests import (
    CreateUploadOperation,
    PatchUploadOperation,
    PutUploadOperation,
    TusOperation,
)
from image_poster.http.documents import answers, nothing
from image_poster.http.put_urls import SignedPutUrls
from image_poster.http.repeats import idempotency_key, in_flight
from image_poster.http.requests import AnyRequest, use_cases
from image_poster.tus import CHECKSUM_ALGORITHMS, EXTENSIONS, VERSION, headers
from image_poster.usecases.receive_upload import Patch, UploadState
from image_poster.usecases.reserve_upload import UploadOrder

PATH = "/uploads"
_ONE = f"{PATH}/{{post_id:str}}"
_FINDING_ERRORS = (
    IdentityRequiredError,
    InvalidTusRequestError,
    UploadNotFoundError,
    MethodNotAllowedError,
    UploadGoneError,
    TusVersionUnsupportedError,
    ChecksumMismatchError,
    ValidationFailedError,
    StorageFullError,
    BusyError,
)
_RECEIVING_ERRORS = (
    IdentityRequiredError,
    PieceTooLargeError,
    InvalidTusRequestError,
    TusVersionUnsupportedError,
    UploadTooLargeError,
    UnsupportedMediaTypeError,
    UnsupportedImageError,
    ValidationFailedError,
    ChecksumMismatchError,
    UploadTakenOverError,
    StorageFullError,
    BusyError,
)
_NO_STORE = "no-store"


@route([PATH, _ONE], http_method=["OPTIONS"], include_in_schema=False)
async def discover(request: AnyRequest) -> Response[bytes]:
    """Core, OPTIONS: what this server can do."""
    found = {
        "tus-resumable": VERSION,
        "tus-version": VERSION,
        "tus-extension": ",".join(EXTENSIONS),
        "tus-max-size": str(use_cases(request).limits.image_bytes),
        "tus-checksum-algorithm": ",".join(CHECKSUM_ALGORITHMS),
    }
    return Response(b"", status_code=204, headers=found)


@post(
    PATH,
    operation_id="createUpload",
    operation_class=CreateUploadOperation,
    request_max_body_size=None,
    summary="Begin a resumable upload",
    responses=answers(
        {201: nothing("Begun; Location says where.")},
        *_RECEIVING_ERRORS,
        IdempotencyKeyReusedError,
        RequestInProgressError,
    ),
)
async def create_upload(request: AnyRequest) -> Response[bytes]:
    """Tus 1.0.0, Creation, POST; with a body, Creation With Upload. `Upload-Metadata` takes
    `caption` and `alt`; the upload's id is that of the post it becomes."""
    headers.check_version(request.headers.get("tus-resumable"))
    creator, key = caller(request), idempotency_key(request)
    with in_flight(request).running(creator, key):
        answer, upload = await use_cases(request).reserve_upload.by_tus(
            creator, _order(request), key
        )
    found, state = {"location": answer.location}, UploadState(upload, 0)
    post_id = answer.location.rpartition("/")[2]
    receive = use_cases(request).receive_upload
    if answer.replayed:
        found["idempotent-replayed"] = "true"
        state = await receive.state(post_id, creator)
    elif _has_piece(request):
        first = Patch(0, _declared_bytes(request), checksum=_checksum(request))
        state = await receive.append(post_id, creator, first, body_chunks(request))
    return _reply(201, state, found)


@get(
    _ONE,
    operation_id="findUpload",
    operation_class=TusOperation,
    summary="How far an upload is",
    responses=answers({200: nothing("`Upload-Offset` bytes are there.")}, *_FINDING_ERRORS),
)
async def find_upload(request: AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Tus 1.0.0, Core, HEAD (there is no GET)."""
    if not request.scope["state"].get("is_head"):
        raise MethodNotAllowedError
    headers.check_version(request.headers.get("tus-resumable"))
    state = await use_cases(request).receive_upload.state(_known(post_id), caller(request))
    upload = state.upload
    found = {"cache-control": _NO_STORE}
    if upload.length is None:
        found["upload-defer-length"] = "1"
    else:
        found["upload-length"] = str(upload.length)
    if upload.metadata:
        found["upload-metadata"] = upload.metadata
    return _reply(200, state, found)


@patch(
    _ONE,
    operation_id="appendToUpload",
    operation_class=PatchUploadOperation,
    request_max_body_size=None,
    summary="Send a piece",
    responses=answers(
        {204: nothing("It is there; `Upload-Offset` says how far the upload is.")},
        *_FINDING_ERRORS,
        *_RECEIVING_ERRORS,
        OffsetMismatchError,
        UploadTakenOverError,
    ),
)
async def append_to_upload(request: AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Tus 1.0.0, Core, PATCH. What came before a cut is kept, and the next request goes on."""
    headers.check_version(request.headers.get("tus-resumable"))
    if not _has_piece(request):
        raise UnsupportedMediaTypeError("Send Content-Type: application/offset+octet-stream.")
    piece = Patch(
        offset=headers.number("Upload-Offset", request.headers.get("upload-offset")),
        declared_bytes=_declared_bytes(request),
        length=_declared_length(request),
        checksum=_checksum(request),
    )
    state = await use_cases(request).receive_upload.append(
        _known(post_id), caller(request), piece, body_chunks(request)
    )
    return _reply(204, state, {})


# (The answer's own status is 204; Litestar wants another here for a handler that answers.)
@delete(
    _ONE,
    status_code=200,
    operation_id="terminateUpload",
    operation_class=TusOperation,
    summary="End an upload",
    responses=answers({204: nothing("Ended, and its post is gone.")}, *_FINDING_ERRORS),
)
async def terminate_upload(request: AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Tus 1.0.0, Termination, DELETE: of a complete upload too, and that is the post."""
    headers.check_version(request.headers.get("tus-resumable"))
    await use_cases(request).terminate_upload(_known(post_id), caller(request))
    return Response(b"", status_code=204, headers={"tus-resumable": VERSION})


@put(
    _ONE,
    status_code=204,
    operation_id="putUpload",
    operation_class=PutUploadOperation,
    request_max_body_size=None,
    summary="Send the whole picture in one go",
    responses=answers(
        {204: nothing("It is there.")},
        InvalidRequestError,
        UploadUrlInvalidError,
        UploadNotFoundError,
        UploadTakenOverError,
        UploadGoneError,
        UploadTooLargeError,
        UnsupportedMediaTypeError,
        UnsupportedImageError,
        ValidationFailedError,
        ChecksumMismatchError,
        StorageFullError,
        BusyError,
    ),
)
async def put_upload(
    request: AnyRequest, post_id: FromPath[str], grant: FromQuery[str] = ""
) -> None:
    """At the signed URL that `POST /posts` answered, by whoever has it. Repeating it is
    harmless."""
    urls: SignedPutUrls = request.app.state.put_urls
    found = urls.check(grant, _known(post_id), use_cases(request).clock.now_ms())
    if media_type(request) != found.content_type:
        raise UnsupportedMediaTypeError(f"Send Content-Type: {found.content_type}.")
    await use_cases(request).receive_upload.put(
        post_id, _declared_bytes(request), body_chunks(request)
    )


def _known(post_id: str) -> str:
    if not is_id(post_id):
        raise UploadNotFoundError
    return post_id


def _order(request: AnyRequest) -> UploadOrder:
    sent = request.headers.get("upload-metadata", "")
    found = headers.metadata(sent)
    return UploadOrder(
        length=headers.new_length(
            request.headers.get("upload-length"), request.headers.get("upload-defer-length")
        ),
        caption=found.get("caption", ""),
        alt=found.get("alt", ""),
        metadata=sent,
    )


def _has_piece(request: AnyRequest) -> bool:
    return headers.is_piece(request.headers.get("content-type"))


def _declared_bytes(request: AnyRequest) -> int | None:
    declared = request.headers.get("content-length")
    return None if declared is None else int(declared)


def _declared_length(request: AnyRequest) -> int | None:
    declared = request.headers.get("upload-length")
    return None if declared is None else headers.number("Upload-Length", declared)


def _checksum(request: AnyRequest) -> headers.Checksum | None:
    return headers.checksum(request.headers.get("upload-checksum"))


def _reply(status: int, state: UploadState, more: dict[str, str]) -> Response[bytes]:
    expires = datetime.fromtimestamp(state.upload.expires_ms / 1000, UTC)
    found = {
        "tus-resumable": VERSION,
        "upload-offset": str(state.offset),
        "upload-expires": format_datetime(expires, usegmt=True),
        **more,
    }
    return Response(b"", status_code=status, headers=found)


ROUTES = [discover, create_upload, find_upload, append_to_upload, terminate_upload, put_upload]
