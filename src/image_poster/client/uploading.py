"""One resumable upload, as a tus 1.0.0 client, and the source of its bytes. Despite failures, it
creates exactly one post.

An image is sent in pieces of 512 KiB. When a connection breaks, HEAD asks the service for the
offset, since it keeps every received byte. The upload resumes from there, in smaller pieces for a
while, since bytes in flight are lost with a connection. No checksum is sent: verified bytes could
only be kept in whole pieces.

The post is reserved by JSON, which accepts texts of any length. A stream of unknown length can only
be created by tus; texts that do not fit into its metadata are then added by an edit.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from mimetypes import guess_type
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from image_poster.client.journal import ResumeState, UploadStateStore
from image_poster.client.results import GaveUpError, Progress, RefusedError, TooLateError
from image_poster.client.retries import (
    NO_SUCH_SERVICE,
    Outcome,
    Policy,
    Reply,
    Retries,
    Send,
    Steps,
    is_transient,
    is_unauthorized,
    refusal,
)

PIECE_BYTES = 512 * 1024
SMALLEST_PIECE_BYTES = 256 * 1024
# The limit of a service for Upload-Metadata.
METADATA_MAX_BYTES = 8 * 1024
# A service keeps a key for 7 days; later it would take a repeated creation for a new one.
RESENT_SECONDS = 6 * 24 * 3600
_TUS = {"tus-resumable": "1.0.0"}
_JSON = {"content-type": "application/json"}
_PIECE = {**_TUS, "content-type": "application/offset+octet-stream"}
_JPEG = "image/jpeg"
_FORMATS = {_JPEG, "image/png", "image/bmp", "image/webp", "image/gif", "image/heic", "image/avif"}
_CREATED, _NO_CONTENT, _GONE, _LOST = 201, 204, {404, 410}, {409, 460}

ProgressCallback = Callable[[Progress], None]


class FileVersion(NamedTuple):
    """A file's size in bytes and time of last write, to detect changes."""

    size: int
    modified_ns: int


def version_of(status: os.stat_result) -> FileVersion:
    """The version of a file with this status."""
    return FileVersion(status.st_size, status.st_mtime_ns)


class FileSource:
    """A file, or any other seekable stream. `name` is for people; `size` is in bytes."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self.size = file.seek(0, os.SEEK_END)
        self._version = self._current_version()

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer only at the end. Raises `GaveUpError` for
        a file that has changed during the upload."""
        if self._current_version() != self._version:
            raise GaveUpError(f"{self.name} has changed while it was being sent")
        self._file.seek(offset)
        return _read_fully(self._file, size)

    def _current_version(self) -> FileVersion | None:
        """The version of the file; None for a stream that is no file."""
        try:
            return version_of(os.fstat(self._file.fileno()))
        except (OSError, AttributeError):
            return None


class StreamSource:
    """A stream that can only go forwards, of unknown size. It buffers the last piece, which the
    service may ask for again."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._buffer = b""
        self._start = 0
        self.name = name
        self.size = None

    def read(self, offset: int, size: int) -> bytes:
        """Read as `FileSource.read`. Raises `GaveUpError` for bytes that are no longer buffered."""
        if offset < self._start:
            raise GaveUpError(f"{self.name} cannot be read again from its beginning")
        self._buffer = self._buffer[offset - self._start :]
        self._start = offset
        self._buffer += _read_fully(self._stream, size - len(self._buffer))
        return self._buffer[:size]


Source = FileSource | StreamSource


@contextmanager
def open_source(image: Path | BinaryIO) -> Iterator[Source]:
    """Open the source for a path, or for a stream, which the caller closes. Raises `RefusedError`
    if it has no bytes."""
    with ExitStack() as stack:
        source: Source
        if isinstance(image, Path):
            source = FileSource(stack.enter_context(image.open("rb")), image.name)
        else:
            name = Path(str(getattr(image, "name", "stream"))).name
            source = FileSource(image, name) if image.seekable() else StreamSource(image, name)
        if not source.read(0, 1):
            detail = "The image is empty: it has no bytes. Choose another file."
            raise RefusedError(422, "validation_failed", detail)
        yield source


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end. A pipe may return fewer before its end."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class UploadTexts(NamedTuple):
    """The texts of the post to create."""

    caption: str = ""
    alt: str = ""


def is_late(state: ResumeState, now: float) -> bool:
    """Return True if the creation was sent too long ago to repeat it with the same key. A time in
    the future is from a clock that was ahead, so a person must decide, too."""
    return not state.complete and state.since != 0 and abs(now - state.since) > RESENT_SECONDS


class ImageUpload:
    """The logic of one upload, from a new or stored state on. `report` is called with the
    progress, and with each failure."""

    def __init__(
        self,
        source: Source,
        texts: UploadTexts,
        store: UploadStateStore,
        policy: Policy,
        report: ProgressCallback | None = None,
    ) -> None:
        self._source = source
        self._texts = texts
        self._store = store
        self._wall_clock = policy.wall_clock
        self._retries = Retries(policy, self._report_failure)
        self._report = report or (lambda _progress: None)
        self._progress = Progress(0, source.size)
        self._offset = 0
        self._piece_bytes = PIECE_BYTES

    def steps(self) -> Steps[str]:
        """Send all bytes and return the path of the post. Raises `RefusedError`, `GaveUpError`,
        `TooLateError`."""
        self._save()
        if not self._store.state.location or not (yield from self._find_offset()):
            yield from self._create()
        while (yield from self._send_piece()):
            pass
        self._save(complete=True)
        return _post_path(self._store.state.location)

    def _create(self) -> Steps[None]:
        """Create the upload with its one key, also if the stored upload is gone. The service starts
        a new upload if that one ended unfinished, and refuses if its post was deleted."""
        now = self._wall_clock()
        since = self._store.state.since or now
        if abs(now - since) > RESENT_SECONDS:
            raise TooLateError(self._source.name, since)
        self._save(location="", complete=False, since=since)
        reply = yield from self._retries.exchange(self._creation())
        _require(reply, _CREATED)
        self._save(location=_upload_path(reply))
        if "idempotent-replayed" in reply.headers and not (yield from self._find_offset()):
            raise self._gone_error()
        if not self._creation_has_texts():
            body = msgspec.json.encode(self._texts._asdict())
            edit = Send("PATCH", _post_path(self._store.state.location), _JSON, body)
            _require((yield from self._retries.exchange(edit)), 200)

    def _creation(self) -> Send:
        size, key = self._source.size, {"idempotency-key": self._store.state.key}
        if size is None:
            texts = {"upload-metadata": self._metadata()} if self._creation_has_texts() else {}
            return Send("POST", "/uploads", {**_TUS, "upload-defer-length": "1", **texts, **key})
        guess = guess_type(self._source.name)[0] or ""
        # The type binds only a signed PUT, which this client does not send.
        content_type = guess if guess in _FORMATS else _JPEG
        body = {**self._texts._asdict(), "image": {"size": size, "content_type": content_type}}
        return Send("POST", "/posts", {**_JSON, **key}, msgspec.json.encode(body))

    def _creation_has_texts(self) -> bool:
        return self._source.size is not None or len(self._metadata()) <= METADATA_MAX_BYTES

    def _metadata(self) -> str:
        """Encode Upload-Metadata: keys and Base64 values (Creation, Upload-Metadata)."""
        values = {"filename": self._source.name, **self._texts._asdict()}
        return ",".join(
            f"{key} {b64encode(value.encode()).decode()}" for key, value in values.items() if value
        )

    def _find_offset(self) -> Steps[bool]:
        """Ask for the offset with HEAD; return False if the upload is gone."""
        request = Send("HEAD", self._store.state.location, _TUS)
        reply = yield from self._retries.exchange(request)
        if reply.status in _GONE:
            return False
        _require(reply, 200)
        if _offset(reply) > self._offset:
            self._retries.record_progress()
        self._offset = _offset(reply)
        self._report_progress()
        return True

    def _send_piece(self) -> Steps[bool]:
        """Send the next piece; return False when all bytes are sent."""
        size, offset = self._source.size, self._offset
        if size is not None and offset >= size:
            return False
        piece = self._source.read(offset, self._piece_bytes)
        if size is not None and not piece:
            raise GaveUpError(f"{self._source.name} has become shorter while it was being sent")
        headers = {**_PIECE, "upload-offset": str(offset)}
        is_last = size is None and len(piece) < self._piece_bytes
        if is_last:
            headers["upload-length"] = str(offset + len(piece))
        location = self._store.state.location
        outcome: Outcome = yield Send("PATCH", location, headers, piece, sent=self._report_progress)
        if isinstance(outcome, Reply) and outcome.status == _NO_CONTENT:
            self._offset = _offset(outcome)
            self._piece_bytes = min(PIECE_BYTES, 2 * self._piece_bytes)
            self._retries.record_progress()
            self._report_progress()
            return not is_last
        yield from self._recover(outcome)
        return True

    def _recover(self, outcome: Outcome) -> Steps[None]:
        """Find the offset after a piece that failed. A refusal ends the upload, except that of a
        token: the upload resumes with another one."""
        if isinstance(outcome, Reply):
            if is_unauthorized(outcome):
                raise refusal(outcome)
            if not (is_transient(outcome) or outcome.status in _LOST):
                yield Send("DELETE", self._store.state.location, _TUS)  # else it expires later
                raise refusal(outcome)
        self._piece_bytes = max(SMALLEST_PIECE_BYTES, self._piece_bytes // 2)
        yield from self._retries.pause(outcome)
        if not (yield from self._find_offset()):
            raise self._gone_error()

    def _save(self, **changes: object) -> None:
        self._store.save(msgspec.structs.replace(self._store.state, **changes))

    def _report_progress(self, in_flight: int = 0) -> None:
        self._progress = Progress(self._offset + in_flight, self._source.size)
        self._report(self._progress)

    def _report_failure(self, reason: str, wait: float) -> None:
        self._report(msgspec.structs.replace(self._progress, trouble=reason, retry_in=wait))

    def _gone_error(self) -> RefusedError:
        return RefusedError(410, "upload_gone", f"{self._source.name}: the upload was deleted.")


def _post_path(upload: str) -> str:
    """The URL of an upload's post; both may have a path prefix."""
    prefix, _, post_id = upload.rpartition("/uploads/")
    return f"{prefix}/posts/{post_id}"


def _upload_path(created: Reply) -> str:
    """The URL of the upload that a creation by tus or by JSON made."""
    location = created.headers.get("location", "")
    prefix, separator, post_id = location.rpartition("/posts/")
    if not location:
        raise GaveUpError(NO_SUCH_SERVICE)
    return f"{prefix}/uploads/{post_id}" if separator else location


def _require(reply: Reply, status: int) -> None:
    if reply.status != status:
        raise refusal(reply)


def _offset(reply: Reply) -> int:
    offset = reply.headers.get("upload-offset", "")
    if not offset.isdecimal():
        raise GaveUpError("this service does not speak tus")
    return int(offset)
