"""One resumable upload, as a tus 1.0.0 client: whatever happens on the way, it ends in one post.

An image is sent in pieces of 512 KiB. When a connection breaks, the service is asked with HEAD how
far it has come, since it keeps every byte that reached it, and the upload goes on from there: in
smaller pieces for a while, since what is on its way when a connection breaks is lost. No checksum
is sent: what is to be verified could only be kept in whole pieces.
"""

import re
from base64 import b64encode
from collections.abc import Callable
from mimetypes import guess_type
from typing import NamedTuple

import msgspec

from image_poster.client.results import GaveUpError, Progress, RefusedError
from image_poster.client.retries import Retries, is_passing, problem
from image_poster.client.steps import Outcome, Read, Remember, Reply, Send, Steps, UploadState

PIECE_BYTES = 512 * 1024
# What a service takes of Upload-Metadata.
METADATA_MAX_BYTES = 8 * 1024
SMALLEST_PIECE_BYTES = 64 * 1024
_TUS = {"tus-resumable": "1.0.0"}
_PIECE = {**_TUS, "content-type": "application/offset+octet-stream"}
_JPEG = "image/jpeg"
_FORMATS = {_JPEG, "image/png", "image/bmp", "image/webp", "image/gif", "image/heic", "image/avif"}
_UNAUTHORIZED, _SIGN_IN = 401, "Say who you are: with --as, or a bearer token that holds."
_RUN_OUT = "The bearer token has run out. Sign in again."
_DESCRIPTION = re.compile(r'error_description="([^"]*)"')
_CREATED, _NO_CONTENT, _GONE, _LOST = 201, 204, {404, 410}, {409, 460}


class UploadOrder(NamedTuple):
    """What to upload: `size` in bytes, None for a stream whose end is not known."""

    name: str
    size: int | None
    caption: str
    alt: str


class Uploading:
    """The logic of one upload from its (perhaps remembered) state on."""

    def __init__(
        self,
        order: UploadOrder,
        state: UploadState,
        retries: Retries,
        progress: Callable[[Progress], None],
    ) -> None:
        self._order = order
        self._state = state
        self._retries = retries
        self._progress = progress
        self._at = 0
        self._piece_bytes = PIECE_BYTES

    def steps(self) -> Steps[str]:
        """The path of the post, once all bytes are there. Raises `RefusedError`, `GaveUpError`."""
        yield Remember(self._state)
        remembered = bool(self._state.location)
        if not remembered:
            yield from self._create()
        elif not (yield from self._find()):
            yield from self._begin_anew()
        while (yield from self._send_piece()):
            pass
        yield from self._remember(complete=True)
        return self._state.location.replace("/uploads/", "/posts/")

    def _create(self) -> Steps[None]:
        size, metadata = self._order.size, _metadata(self._order)
        if size is not None and len(metadata) > METADATA_MAX_BYTES:
            yield from self._reserve(size)
            return
        length = {"upload-defer-length": "1"} if size is None else {"upload-length": str(size)}
        headers = {
            **_TUS,
            **length,
            "upload-metadata": metadata,
            "idempotency-key": self._state.key,
        }
        reply = yield from self._retries.exchange(Send("POST", "/uploads", headers))
        _require(reply, _CREATED)
        if "location" not in reply.headers:
            raise GaveUpError("this service does not speak tus")
        self._at = int(reply.headers.get("upload-offset", "0"))  # more, if the answer was lost
        yield from self._remember(location=reply.headers["location"])

    def _reserve(self, size: int) -> Steps[None]:
        """Create by JSON, which takes the texts that are too long for Upload-Metadata."""
        guessed = guess_type(self._order.name)[0] or ""
        image = {
            "size": size,
            "content_type": guessed if guessed in _FORMATS else _JPEG,  # only a PUT is held to it
        }
        body = {"caption": self._order.caption, "alt": self._order.alt, "image": image}
        headers = {"content-type": "application/json", "idempotency-key": self._state.key}
        request = Send("POST", "/posts", headers, msgspec.json.encode(body))
        reply = yield from self._retries.exchange(request)
        _require(reply, _CREATED)
        location = reply.headers.get("location", "").replace("/posts/", "/uploads/")
        yield from self._remember(location=location)
        if "idempotent-replayed" in reply.headers and not (yield from self._find()):
            yield from self._begin_anew()

    def _find(self) -> Steps[bool]:
        """Ask how far the upload is; whether it is there at all."""
        reply = yield from self._retries.exchange(Send("HEAD", self._state.location, _TUS))
        if reply.status in _GONE:
            return False
        _require(reply, 200)
        if _offset(reply) > self._at:
            self._retries.progressed()
        self._at = _offset(reply)
        self._tell()
        return True

    def _begin_anew(self) -> Steps[None]:
        """What was remembered has expired or been deleted."""
        self._state = UploadState(new_key(self._state.key))
        yield Remember(self._state)
        yield from self._create()

    def _send_piece(self) -> Steps[bool]:
        """Whether there may be more to send."""
        size = self._order.size
        if size is not None and self._at >= size:
            return False
        piece: bytes = yield Read(self._at, self._piece_bytes)
        if size is not None and not piece:
            raise GaveUpError(f"{self._order.name} has become shorter while it was being sent")
        headers = {**_PIECE, "upload-offset": str(self._at)}
        is_last = size is None and len(piece) < self._piece_bytes
        if is_last:
            headers["upload-length"] = str(self._at + len(piece))
        outcome: Outcome = yield Send(
            "PATCH", self._state.location, headers, piece, sent=self._tell
        )
        if isinstance(outcome, Reply) and outcome.status == _NO_CONTENT:
            self._at = _offset(outcome)
            self._piece_bytes = min(PIECE_BYTES, 2 * self._piece_bytes)
            self._retries.progressed()
            self._tell()
            return not is_last
        yield from self._recover(outcome)
        return True

    def _recover(self, outcome: Outcome) -> Steps[None]:
        if isinstance(outcome, Reply) and outcome.status == _UNAUTHORIZED:
            raise refusal(outcome)  # the upload stays: with another token it goes on
        if isinstance(outcome, Reply) and not (is_passing(outcome) or outcome.status in _LOST):
            yield Send("DELETE", self._state.location, _TUS)  # well meant: it would expire anyway
            raise refusal(outcome)
        self._piece_bytes = max(SMALLEST_PIECE_BYTES, self._piece_bytes // 4)
        yield from self._retries.pause(outcome)
        if not (yield from self._find()):
            raise RefusedError(410, "upload_gone", f"{self._order.name}: the upload was ended.")

    def _remember(self, **changes: object) -> Steps[None]:
        self._state = msgspec.structs.replace(self._state, **changes)
        yield Remember(self._state)

    def _tell(self, in_flight: int = 0) -> None:
        self._progress(Progress(self._at + in_flight, self._order.size))


def new_key(former: str) -> str:
    """Another idempotency key than `former`."""
    name, _, number = former.rpartition(".")
    return f"{name}.{int(number) + 1}"


def _why_refused(reply: Reply) -> str:
    """By `error_description` (RFC 6750, section 3); API Gateway's is `the token has expired`."""
    described = _DESCRIPTION.search(reply.headers.get("www-authenticate", ""))
    if described is None:
        return _SIGN_IN
    return _RUN_OUT if "expired" in described[1] else described[1]


def refusal(reply: Reply) -> RefusedError | GaveUpError:
    """The error that an answer other than the hoped-for one is."""
    found = problem(reply)
    if not found.code and reply.status == _UNAUTHORIZED:  # of a HEAD, or a gateway's
        return RefusedError(_UNAUTHORIZED, "identity_required", _why_refused(reply))
    if not found.code:
        return GaveUpError(f"the service answered {reply.status} without saying why")
    return RefusedError(reply.status, found.code, found.detail)


def _require(reply: Reply, status: int) -> None:
    if reply.status != status:
        raise refusal(reply)


def _offset(reply: Reply) -> int:
    offset = reply.headers.get("upload-offset", "")
    if not offset.isdecimal():
        raise GaveUpError("this service does not speak tus")
    return int(offset)


def _metadata(order: UploadOrder) -> str:
    """Creation, Upload-Metadata: keys and Base64 values."""
    found = {"filename": order.name, "caption": order.caption, "alt": order.alt}
    pairs = ((key, b64encode(value.encode()).decode()) for key, value in found.items() if value)
    return ",".join(f"{key} {value}" for key, value in pairs)
