"""One resumable upload, as a tus 1.0.0 client. Despite failures, it creates exactly one post.

An image is sent in pieces of 512 KiB. When a connection breaks, HEAD asks the service for the
offset, since it keeps every received byte. The upload resumes from there, in smaller pieces for a
while, since bytes in flight are lost with a connection. No checksum is sent: verified bytes could
only be kept in whole pieces.

The post is reserved by JSON, which accepts texts of any length. A stream of unknown length can only
be created by tus; texts that do not fit into its metadata are then added by an edit.
"""

import re
from base64 import b64encode
from collections.abc import Callable
from mimetypes import guess_type
from typing import NamedTuple

import msgspec

from image_poster.client.results import GaveUpError, Progress, RefusedError, TooLateError
from image_poster.client.retries import Retries, is_transient, problem
from image_poster.client.steps import Outcome, Read, Remember, Reply, Send, Steps, UploadState

PIECE_BYTES = 512 * 1024
# What a service takes of Upload-Metadata.
METADATA_MAX_BYTES = 8 * 1024
SMALLEST_PIECE_BYTES = 256 * 1024
_TUS = {"tus-resumable": "1.0.0"}
_JSON = {"content-type": "application/json"}
_PIECE = {**_TUS, "content-type": "application/offset+octet-stream"}
_JPEG = "image/jpeg"
_FORMATS = {_JPEG, "image/png", "image/bmp", "image/webp", "image/gif", "image/heic", "image/avif"}
_UNAUTHORIZED, _SIGN_IN = 401, "Say who you are: with --as, or a bearer token that holds."
_RUN_OUT = "The bearer token has run out. Sign in again."
_DESCRIPTION = re.compile(r'error_description="([^"]*)"')
_CREATED, _NO_CONTENT, _GONE, _LOST = 201, 204, {404, 410}, {409, 460}
# A service keeps a key for 7 days; later it would take a repeated creation for a new one.
RESENT_SECONDS = 6 * 24 * 3600


class UploadOrder(NamedTuple):
    """The upload to do: `size` in bytes, None for a stream whose end is unknown."""

    name: str
    size: int | None
    caption: str
    alt: str


def is_late(state: UploadState, now: float) -> bool:
    """Return True if the creation was sent too long ago to repeat it with the same key. A time in
    the future is from a clock that was ahead, so a person must decide, too."""
    return not state.complete and state.since != 0 and abs(now - state.since) > RESENT_SECONDS


class Uploading:
    """The logic of one upload, starting from a new or stored state."""

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
        """Send all bytes and return the path of the post. Raises `RefusedError`, `GaveUpError`."""
        yield Remember(self._state)
        if not self._state.location or not (yield from self._find()):
            yield from self._create()
        while (yield from self._send_piece()):
            pass
        yield from self._remember(complete=True)
        return post_of(self._state.location)

    def _create(self) -> Steps[None]:
        """Create the upload with its one key, also if the stored upload is gone. The service starts
        a new upload if that one ended unfinished, and refuses if its post was deleted. Raises
        `TooLateError`."""
        yield from self._remember(location="", complete=False, since=self._first_sent())
        reply = yield from self._retries.exchange(self._creation())
        _require(reply, _CREATED)
        yield from self._remember(location=_upload_of(reply))
        if "idempotent-replayed" in reply.headers and not (yield from self._find()):
            raise _ended(self._order.name)
        if not self._is_told_at_once():
            yield from self._tell_texts()

    def _first_sent(self) -> float:
        """The time of the first creation request, in seconds since 1970; now if there was none.
        Raises `TooLateError`."""
        now = self._retries.wall_clock()
        since = self._state.since or now
        if abs(now - since) > RESENT_SECONDS:
            raise TooLateError(self._order.name, since)
        return since

    def _creation(self) -> Send:
        size, key = self._order.size, {"idempotency-key": self._state.key}
        if size is None:
            texts = {"upload-metadata": _metadata(self._order)} if self._is_told_at_once() else {}
            return Send("POST", "/uploads", {**_TUS, "upload-defer-length": "1", **texts, **key})
        guessed = guess_type(self._order.name)[0] or ""
        content_type = guessed if guessed in _FORMATS else _JPEG  # only a PUT is held to it
        image = {"size": size, "content_type": content_type}
        body = {"caption": self._order.caption, "alt": self._order.alt, "image": image}
        return Send("POST", "/posts", {**_JSON, **key}, msgspec.json.encode(body))

    def _is_told_at_once(self) -> bool:
        """Return True if the texts are sent with the creation."""
        return self._order.size is not None or len(_metadata(self._order)) <= METADATA_MAX_BYTES

    def _tell_texts(self) -> Steps[None]:
        body = msgspec.json.encode({"caption": self._order.caption, "alt": self._order.alt})
        request = Send("PATCH", post_of(self._state.location), _JSON, body)
        _require((yield from self._retries.exchange(request)), 200)

    def _find(self) -> Steps[bool]:
        """Ask for the offset with HEAD; return False if the upload is gone."""
        reply = yield from self._retries.exchange(Send("HEAD", self._state.location, _TUS))
        if reply.status in _GONE:
            return False
        _require(reply, 200)
        if _offset(reply) > self._at:
            self._retries.progressed()
        self._at = _offset(reply)
        self._tell()
        return True

    def _send_piece(self) -> Steps[bool]:
        """Send the next piece; return False when all bytes are sent."""
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
        if isinstance(outcome, Reply) and not (is_transient(outcome) or outcome.status in _LOST):
            yield Send("DELETE", self._state.location, _TUS)  # well meant: it would expire anyway
            raise refusal(outcome)
        self._piece_bytes = max(SMALLEST_PIECE_BYTES, self._piece_bytes // 2)
        yield from self._retries.pause(outcome)
        if not (yield from self._find()):
            raise _ended(self._order.name)

    def _remember(self, **changes: object) -> Steps[None]:
        self._state = msgspec.structs.replace(self._state, **changes)
        yield Remember(self._state)

    def _tell(self, in_flight: int = 0) -> None:
        self._progress(Progress(self._at + in_flight, self._order.size))


def post_of(upload: str) -> str:
    """The URL of an upload's post; both may have a path prefix."""
    head, _, post_id = upload.rpartition("/uploads/")
    return f"{head}/posts/{post_id}"


def _upload_of(created: Reply) -> str:
    """The URL of the upload that a creation by tus or by JSON made."""
    location = created.headers.get("location", "")
    head, found, post_id = location.rpartition("/posts/")
    if not location:
        raise GaveUpError("the service does not answer as image-poster-api does")
    return f"{head}/uploads/{post_id}" if found else location


def _ended(name: str) -> RefusedError:
    return RefusedError(410, "upload_gone", f"{name}: the upload was ended.")


def _why_refused(reply: Reply) -> str:
    """The reason of a 401, from `error_description` (RFC 6750, section 3); API Gateway's is `the
    token has expired`."""
    described = _DESCRIPTION.search(reply.headers.get("www-authenticate", ""))
    if described is None:
        return _SIGN_IN
    return _RUN_OUT if "expired" in described[1] else described[1]


def refusal(reply: Reply) -> RefusedError | GaveUpError:
    """The error for an unexpected answer."""
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
    """Encode Upload-Metadata: keys and Base64 values (Creation, Upload-Metadata)."""
    found = {"filename": order.name, "caption": order.caption, "alt": order.alt}
    pairs = ((key, b64encode(value.encode()).decode()) for key, value in found.items() if value)
    return ",".join(f"{key} {value}" for key, value in pairs)
