"""Resumable uploads: tus 1.0.0 over HTTP. The rules are in `tus/`; here headers go in and out."""

from datetime import UTC, datetime
from email.utils import format_datetime

from litestar import Response, delete, get, patch, post, route
from litestar.params import FromPath

from image_poster.domain.errors import MethodNotAllowedError, UnsupportedMediaTypeError
from image_poster.domain.ids import is_id
from image_poster.http.auth import caller
from image_poster.http.bodies import body_chunks
from image_poster.http.repeats import idempotency_key, in_flight
from image_poster.http.requests import AnyRequest, use_cases
from image_poster.tus import CHECKSUM_ALGORITHMS, EXTENSIONS, VERSION, headers
from image_poster.tus.errors import UploadNotFoundError
from image_poster.usecases.receive_upload import Patch, UploadState
from image_poster.usecases.reserve_upload import UploadOrder

PATH = "/uploads"
_NO_STORE = "no-store"


@route([PATH, f"{PATH}/{{post_id:str}}"], http_method=["OPTIONS"], include_in_schema=False)
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


@post(PATH, request_max_body_size=None, include_in_schema=False)
async def create_upload(request: AnyRequest) -> Response[bytes]:
    """Creation, POST; with a body, Creation With Upload."""
    headers.check_version(request.headers.get("tus-resumable"))
    creator, key = caller(request), idempotency_key(request)
    with in_flight(request).running(creator, key):
        answer = await use_cases(request).reserve_upload(creator, _order(request), key)
    found = {"location": answer.location}
    post_id = answer.location.rpartition("/")[2]
    if answer.replayed:
        found["idempotent-replayed"] = "true"
        state = await use_cases(request).receive_upload.state(post_id, creator)
    elif headers.check_content_type(request.headers.get("content-type")):
        first = Patch(0, _declared_bytes(request), checksum=_checksum(request))
        state = await use_cases(request).receive_upload.append(
            post_id, creator, first, body_chunks(request)
        )
    else:
        state = await use_cases(request).receive_upload.state(post_id, creator)
    return _reply(201, state, found)


@get(f"{PATH}/{{post_id:str}}", include_in_schema=False)
async def find_upload(request: AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Core, HEAD: where the upload is (there is no GET)."""
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


@patch(f"{PATH}/{{post_id:str}}", request_max_body_size=None, include_in_schema=False)
async def append_to_upload(request: AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Core, PATCH."""
    headers.check_version(request.headers.get("tus-resumable"))
    if not headers.check_content_type(request.headers.get("content-type")):
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
@delete(f"{PATH}/{{post_id:str}}", status_code=200, include_in_schema=False)
async def terminate_upload(request: AnyRequest, post_id: FromPath[str]) -> Response[bytes]:
    """Termination, DELETE."""
    headers.check_version(request.headers.get("tus-resumable"))
    await use_cases(request).terminate_upload(_known(post_id), caller(request))
    return Response(b"", status_code=204, headers={"tus-resumable": VERSION})


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


ROUTES = [discover, create_upload, find_upload, append_to_upload, terminate_upload]
