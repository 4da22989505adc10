"""Posting an image: the source of its bytes, its upload, and the resulting post."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from image_poster.client import calls
from image_poster.client.journal import (
    CommentIdentity,
    Journal,
    UploadIdentity,
    new_state,
    sha256_of,
)
from image_poster.client.results import GaveUpError, Post, Progress, RefusedError
from image_poster.client.retries import Policy, Retries
from image_poster.client.steps import Read, Remember, Steps, UploadState
from image_poster.client.uploading import Uploading, UploadOrder, is_late

_EMPTY = "The image is empty: it has no bytes. Choose another file."


class Source(Protocol):
    """An image's bytes. `name` is for people; `size` in bytes, None while unknown."""

    name: str
    size: int | None

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer only at the end."""
        ...


class FileSource:
    """A file, or any other seekable stream."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self.size: int | None = file.seek(0, os.SEEK_END)
        self._version = _version(file)

    def read(self, offset: int, size: int) -> bytes:
        """Read as `Source.read`. Raises `GaveUpError` for a file that has changed during the
        upload."""
        if _version(self._file) != self._version:
            raise GaveUpError(f"{self.name} has changed while it was being sent")
        self._file.seek(offset)
        return _full(self._file, size)


class FileVersion(NamedTuple):
    """A file's size in bytes and time of last write, to detect changes."""

    size: int
    modified_ns: int


def version_of(status: os.stat_result) -> FileVersion:
    """The version of a file with this status."""
    return FileVersion(status.st_size, status.st_mtime_ns)


def _version(file: BinaryIO) -> FileVersion | None:
    """The version of an open file; None for a stream that is no file."""
    try:
        return version_of(os.fstat(file.fileno()))
    except (OSError, AttributeError):
        return None


class StreamSource:
    """A stream that can only go forwards. It buffers the last piece, which the service may ask for
    again."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._held = b""
        self._start = 0
        self.name = name
        self.size: int | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Read as `Source.read`. Raises `GaveUpError` for bytes that are no longer buffered."""
        if offset < self._start:
            raise GaveUpError(f"{self.name} cannot be read again from its beginning")
        self._held = self._held[offset - self._start :]
        self._start = offset
        self._held += _full(self._stream, size - len(self._held))
        return self._held[:size]


@contextmanager
def open_source(source: Path | BinaryIO) -> Iterator[Source]:
    """Open the source for a path, or for a stream, which the caller closes."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield FileSource(file, source.name)
    else:
        name = Path(str(getattr(source, "name", "stream"))).name
        yield FileSource(source, name) if source.seekable() else StreamSource(source, name)


def _full(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end. A pipe may return fewer before its end."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


Report = Callable[[Progress], None]


class UploadStateStore(Protocol):
    """Stores an upload's state, such as a `Record` of the journal."""

    state: UploadState

    def remember(self, state: UploadState) -> None: ...


class _Unrecorded:
    """The state of a stream's upload, in memory only: no later process could read the stream
    again."""

    def __init__(self) -> None:
        self.state = new_state()

    def remember(self, state: UploadState) -> None:
        self.state = state


class Draft(NamedTuple):
    """The post to create: a path or an open stream, and its texts."""

    image: Path | BinaryIO
    caption: str = ""
    alt: str = ""


class UploadJob(NamedTuple):
    """A draft with its open source and its stored state."""

    draft: Draft
    source: Source
    held: UploadStateStore

    def steps(self, policy: Policy, report: Report | None) -> Steps[Post]:
        """Upload from the stored state on; bytes that arrived in an earlier run are not sent
        again."""
        order = UploadOrder(self.source.name, self.source.size, self.draft.caption, self.draft.alt)
        talk = ChildConnection(order.size, report or (lambda _progress: None))
        retries = Retries(policy, talk.trouble)
        path = yield from Uploading(order, self.held.state, retries, talk.progress).steps()
        return (yield from calls.show(path))

    def do(self, step: Read | Remember) -> bytes | None:
        """Execute a step that needs no network."""
        if isinstance(step, Read):
            return self.source.read(*step)
        self.held.remember(step.state)
        return None


class ChildConnection:
    """Reports failures together with the upload's latest progress."""

    def __init__(self, total: int | None, report: Report) -> None:
        self._latest = Progress(0, total)
        self._report = report

    def progress(self, found: Progress) -> None:
        self._latest = found
        self._report(found)

    def trouble(self, reason: str, wait: float) -> None:
        self._report(Progress(self._latest.sent, self._latest.total, reason, wait))


class Desk:
    """Makes jobs of drafts, for one user of one service: opens the source and loads the state."""

    def __init__(self, service: str, user: str | None, journal: Journal) -> None:
        self._service = service
        self._user = user or ""
        self.journal = journal

    @contextmanager
    def job(
        self, draft: Draft, held: UploadStateStore | None, *, again: bool = False
    ) -> Iterator[UploadJob]:
        """The job with an open source. If the image is a file, its state is in the journal, and is
        removed when the job succeeds. With `held`, the caller stores the state. `again`: on a
        person's request, use a new key for a job that was first sent too long ago."""
        with ExitStack() as stack:
            source = stack.enter_context(open_source(draft.image))
            if not source.read(0, 1):
                raise RefusedError(422, "validation_failed", _EMPTY)
            if held is not None:
                yield UploadJob(draft, source, held)
            elif isinstance(draft.image, Path):
                record = stack.enter_context(self.journal.record(self.identity(draft)))
                if again and is_late(record.state, time.time()):
                    record.remember(new_state())
                yield UploadJob(draft, source, record)
                record.forget()
            else:
                yield UploadJob(draft, source, _Unrecorded())

    def comment_identity(self, post_id: str, content: str) -> CommentIdentity:
        """The identity of a comment by this user."""
        return CommentIdentity(self._service, self._user, post_id, content)

    def identity(self, draft: Draft, copy: int = 0) -> UploadIdentity:
        """The identity of a draft whose image is a file."""
        if not isinstance(draft.image, Path):
            raise TypeError("only a file can be told again")
        digest = sha256_of(draft.image)
        return UploadIdentity(self._service, self._user, digest, draft.caption, draft.alt, copy)
