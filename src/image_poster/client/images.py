"""Downloads: the user's originals, and renditions, also those that are not public.

A download continues at its offset after each failure, by a range (RFC 9110 section 14). Nothing is
ever written twice: if the service sends a file from its beginning, the bytes before the offset are
skipped. That is exact, because the image of a post never changes.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx

from image_poster.client.calls import Call
from image_poster.client.journal import TRANSIENT_ERRORS, sync_folder
from image_poster.client.results import (
    GaveUpError,
    PostResult,
    Progress,
    RefusedError,
    SettingError,
)
from image_poster.client.retries import (
    NO_SUCH_SERVICE,
    ConnectionFailure,
    Outcome,
    Policy,
    Reply,
    Retries,
    Send,
    Steps,
    is_transient,
    refusal,
)
from image_poster.client.transport import base_url
from image_poster.client.uploading import ProgressCallback

PART_SUFFIX = ".part"
_OK, _PARTIAL, _REDIRECT, _FORBIDDEN, _RANGE_REFUSED = 200, 206, 302, 403, 416
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_RENDITION = re.compile(r"((?:/me|/moderation)?/images/[0-9A-Za-z]+/[0-9A-Za-z]+\.jpg)$")


class FileDownload:
    """The logic of one download. `write` receives the bytes from `offset` on; `report` is called
    with the progress, and with each failure."""

    def __init__(
        self,
        path: str,
        write: Callable[[bytes], object],
        policy: Policy,
        report: ProgressCallback | None = None,
        *,
        offset: int = 0,
    ) -> None:
        self.received = offset
        self._path = path
        self._write = write
        self._report = report or (lambda _progress: None)
        self._retries = Retries(policy, self._report_failure)
        self._total: int | None = None
        self._skip = 0
        self._has_range = offset > 0

    def steps(self) -> Steps[int]:
        """Receive the whole file, and return its size in bytes. Raises `RefusedError` and
        `GaveUpError`."""
        while True:
            start = self.received
            outcome: Outcome = yield self._request(self._path)
            if isinstance(outcome, Reply) and outcome.status == _REDIRECT:
                outcome = _fetched((yield self._redirected(outcome)))
            if self._is_complete(outcome):
                return self.received
            if self.received > start:
                self._retries.record_progress()
            yield from self._recover(outcome)

    def accepts(self, status: int, headers: Mapping[str, str]) -> bool:
        """As `BodySink`: the whole file, or a range that begins at the offset or before it."""
        if status == _OK:
            length = headers.get("content-length", "")
            self._total = int(length) if length.isdecimal() else None
            self._skip = self.received
        elif status == _PARTIAL:
            match = _CONTENT_RANGE.match(headers.get("content-range", ""))
            if match is None or int(match[1]) > self.received:
                raise GaveUpError(NO_SUCH_SERVICE)
            self._total = int(match[2])
            self._skip = self.received - int(match[1])
        return status in {_OK, _PARTIAL}

    def write(self, chunk: bytes) -> None:
        """As `BodySink`."""
        rest = chunk[self._skip :]
        self._skip -= len(chunk) - len(rest)
        if rest:
            self._write(rest)
            self.received += len(rest)
            self._report(Progress(self.received, self._total))

    def _request(self, url: str, *, with_identity: bool = True) -> Send:
        # No proxy may compress it: ranges are of the bytes as they are.
        headers = {"accept-encoding": "identity"}
        if self.received and self._has_range:
            headers["range"] = f"bytes={self.received}-"
        return Send("GET", url, headers, sink=self, with_identity=with_identity)

    def _redirected(self, reply: Reply) -> Send:
        """The request for a signed URL (AWS). S3 refuses a second kind of identity."""
        location = reply.headers.get("location", "")
        try:
            base_url(location)
        except ValueError as exc:
            raise GaveUpError(NO_SUCH_SERVICE) from exc
        return self._request(location, with_identity=False)

    def _is_complete(self, outcome: Outcome) -> bool:
        """Return True if all bytes are there. Raises `GaveUpError` if there are too many."""
        if not isinstance(outcome, Reply) or outcome.status not in {_OK, _PARTIAL}:
            return False
        if self._skip or (self._total is not None and self.received > self._total):
            raise GaveUpError(
                f"the unfinished download of {self._path} has more bytes than the image. Delete "
                f"its file, whose name ends with {PART_SUFFIX}"
            )
        return self._total in {None, self.received}

    def _recover(self, outcome: Outcome) -> Steps[None]:
        """Wait for the next try. Raises `RefusedError` and `GaveUpError`."""
        if isinstance(outcome, Reply):
            if outcome.status == _RANGE_REFUSED and self._has_range:
                self._has_range = False  # all bytes may be there, and then none is in the range
                return
            if outcome.status in {_OK, _PARTIAL}:
                outcome = ConnectionFailure("the connection broke")
            elif not is_transient(outcome):
                raise refusal(outcome)
        self._has_range = True
        yield from self._retries.pause(outcome)

    def _report_failure(self, reason: str, wait: float) -> None:
        self._report(Progress(self.received, self._total, trouble=reason, retry_in=wait))


def _fetched(outcome: Outcome) -> Outcome:
    """The outcome of a request for a signed URL: a refused one may have expired on the way, and
    the next try gets another."""
    if isinstance(outcome, Reply) and outcome.status == _FORBIDDEN:
        return ConnectionFailure("the image's store refused the signed URL")
    return outcome


class PartFile:
    """A file that has its name once it is complete; until then its name ends with `.part`."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with storage_errors(path):
            if not resume:
                path.unlink(missing_ok=True)
            self._descriptor = os.open(path, flags, 0o600)
            self.size = os.fstat(self._descriptor).st_size

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises `GaveUpError` and `SettingError`."""
        view = memoryview(chunk)
        with storage_errors(self.path):
            while view:
                view = view[os.write(self._descriptor, view) :]

    def read_head(self, size: int) -> bytes:
        """The first `size` bytes."""
        return os.pread(self._descriptor, size, 0)

    def commit(self, target: Path) -> None:
        """Give the file its name; it then survives a power cut."""
        with storage_errors(target):
            os.fsync(self._descriptor)
            self.path.replace(target)
            sync_folder(target.parent)

    def close(self) -> None:
        """Close the file, complete or not."""
        os.close(self._descriptor)


@contextmanager
def open_part(path: Path, *, resume: bool = False) -> Iterator[PartFile]:
    """Open a `PartFile`, to append to its bytes (`resume`) or else empty."""
    part = PartFile(path, resume=resume)
    try:
        yield part
    finally:
        part.close()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn errors of a file into `GaveUpError`, or `SettingError` where a repeat cannot help."""
    try:
        yield
    except OSError as exc:
        kind = GaveUpError if exc.errno in TRANSIENT_ERRORS else SettingError
        raise kind(f"{path} cannot be written: {exc.strerror or exc}") from exc


class ImageCalls:
    """Downloads. A file is complete once it has its name; `target` may be a binary stream too. Both
    return the size in bytes."""

    _policy: Policy

    @Call
    def download_original(
        self,
        post_id: str,
        target: Path | BinaryIO,
        *,
        progress: ProgressCallback | None = None,
    ) -> Steps[int]:
        """Download the original of the user's own post, despite broken connections."""
        return _download(f"/posts/{post_id}/original", target, self._policy, progress)

    @Call
    def download_rendition(
        self,
        post: PostResult,
        target: Path | BinaryIO,
        *,
        large: bool = True,
        progress: ProgressCallback | None = None,
    ) -> Steps[int]:
        """Download a rendition of a post that the user may see, public or not: the whole image, or
        else the square. Raises `RefusedError` if the post has no image yet."""
        if post.image is None:
            detail = "The post has no image. Wait until its status is `ready`."
            raise RefusedError(httpx.codes.NOT_FOUND, "image_not_found", detail)
        match = _RENDITION.search(post.image.large.url if large else post.image.url)
        if match is None:
            raise GaveUpError(NO_SUCH_SERVICE)
        return (yield from _download(match[1], target, self._policy, progress))


def _download(
    path: str, target: Path | BinaryIO, policy: Policy, progress: ProgressCallback | None
) -> Steps[int]:
    if not isinstance(target, Path):
        return (yield from FileDownload(path, target.write, policy, progress).steps())
    with open_part(target.with_name(f"{target.name}{PART_SUFFIX}")) as part:
        size = yield from FileDownload(path, part.write, policy, progress).steps()
        part.commit(target)
        return size
