"""All of a user's own data in one folder: `image-poster takeout`, and `takeout` of the client.

- `takeout.json`: the mark of the folder: the service, and the user
- `posts.jsonl`, `comments.jsonl`, `reports.jsonl`, `blocks.jsonl`, `decisions.jsonl`: one item a
  line, in JSON, as the API shows it to its owner
- `originals/{id}.{kind}`: the images as they were uploaded

Each run reads the lists anew, and downloads the originals that are not there yet. A file ends with
`.part` until it is complete, and the download of an original continues at its end.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from image_poster.client.images import (
    PART_SUFFIX,
    FileDownload,
    PartFile,
    open_part,
    storage_errors,
)
from image_poster.client.results import (
    GaveUpError,
    InUseError,
    Progress,
    RefusedError,
    SettingError,
    TakeoutProgress,
    TakeoutResult,
    UserResult,
)
from image_poster.client.retries import (
    NO_SUCH_SERVICE,
    Policy,
    Reply,
    Retries,
    Send,
    Steps,
    decode,
    refusal,
)
from image_poster.domain.images import SNIFF_BYTES, sniff

# The comments of other users are no data of the caller.
LISTS = {
    "posts": "/me/posts?comments=0&limit=100",
    "comments": "/me/comments?limit=100",
    "reports": "/me/reports?limit=100",
    "blocks": "/me/blocks?limit=100",
    "decisions": "/me/decisions?limit=100",
}
FIRST_PATIENCE_SECONDS = 3.0
MARK_NAME, ORIGINALS_NAME = "takeout.json", "originals"
_IGNORED_NAMES = {"lost+found", f"{MARK_NAME}{PART_SUFFIX}"}
_AWAITING = "awaiting_upload"
_FIRST_ERROR, _UNAUTHORIZED, _NOT_FOUND = 400, 401, 404
_ID = re.compile(r"[0-9A-Za-z]{1,64}")

TakeoutCallback = Callable[[TakeoutProgress], None]


class TakeoutMark(msgspec.Struct, frozen=True):
    """The owner of a takeout's folder: a user of a service."""

    service: str
    user: str


class TakeoutFolder:
    """The folder of a takeout. It belongs to one user of one service, and to one process at a
    time."""

    def __init__(self, path: Path, service: str) -> None:
        self.path = path
        self._service = service.rstrip("/")

    def check(self) -> None:
        """Raises `SettingError` if the folder has other content than a takeout from this
        service."""
        mark = self._read_mark()
        if mark is not None and mark.service != self._service:
            raise SettingError(
                f"{self.path} has the takeout of {mark.user} from {mark.service}. Continue it with "
                f"--url {mark.service}, or name another folder"
            )
        with storage_errors(self.path):
            names = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        if mark is None and names - _IGNORED_NAMES:
            raise SettingError(
                f"{self.path} is not empty, and is no takeout: it has no valid {MARK_NAME}. "
                "Name an empty or a new folder"
            )

    @contextmanager
    def open(self, user: str) -> Iterator[None]:
        """Lock the folder; create and mark it at the first time. Raises `SettingError` if it is
        another user's, `InUseError` while another process has it locked."""
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark = self._read_mark()
        if mark is None:  # first, so that a crash leaves no folder that is refused
            mark = TakeoutMark(self._service, user)
            with self.open_file(MARK_NAME) as part:
                part.write(msgspec.json.encode(mark) + b"\n")
        if mark.user != user:
            raise SettingError(
                f"{self.path} has the takeout of {mark.user}, and you are {user}. Continue it as "
                f"{mark.user}, or name another folder"
            )
        with storage_errors(self.path):
            (self.path / ORIGINALS_NAME).mkdir(exist_ok=True, mode=0o700)
            descriptor = os.open(self.path / MARK_NAME, os.O_RDONLY)
        try:
            _lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def open_file(self, name: str) -> Iterator[PartFile]:
        """A file to write, which replaces that of the former run once the block has ended well."""
        with open_part(self.path / f"{name}{PART_SUFFIX}") as part:
            yield part
            part.commit(self.path / name)

    @contextmanager
    def open_original(self, post_id: str) -> Iterator[PartFile]:
        """The original of a post, with the bytes of former runs. The block has to add the rest."""
        with open_part(self._part_of(post_id), resume=True) as part:
            yield part
            kind = sniff(part.read_head(SNIFF_BYTES))
            ending = kind.rpartition("/")[2] if kind else "bin"
            part.commit(self.path / ORIGINALS_NAME / f"{post_id}.{ending}")

    def remove_part(self, post_id: str) -> None:
        """Remove the bytes of an original that is not complete."""
        with storage_errors(self.path):
            self._part_of(post_id).unlink(missing_ok=True)

    def _part_of(self, post_id: str) -> Path:
        return self.path / ORIGINALS_NAME / f"{post_id}{PART_SUFFIX}"

    def complete_originals(self) -> set[str]:
        """The ids of the posts whose originals are complete."""
        with storage_errors(self.path):
            paths = list((self.path / ORIGINALS_NAME).iterdir())
        return {path.stem for path in paths if path.suffix != PART_SUFFIX}

    def _read_mark(self) -> TakeoutMark | None:
        try:
            content = (self.path / MARK_NAME).read_bytes()
            return msgspec.json.decode(content, type=TakeoutMark)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None


class Takeout:
    """The logic of one run. `report` is called with the progress, and with each failure."""

    def __init__(
        self, folder: TakeoutFolder, policy: Policy, report: TakeoutCallback | None = None
    ) -> None:
        self._folder = folder
        self._policy = policy
        self._report = report or (lambda _progress: None)
        # The first request soon tells whether the address is wrong.
        first_patience = min(policy.first_patience, FIRST_PATIENCE_SECONDS)
        patient = msgspec.structs.replace(policy, first_patience=first_patience)
        self._retries = Retries(patient, self._report_failure)
        self._progress = TakeoutProgress(0, None, 0)
        self._missing = list[str]()

    def steps(self) -> Steps[TakeoutResult]:
        """Read all lists, then download the originals. Raises `SettingError`, `InUseError`,
        `RefusedError` and `GaveUpError`."""
        self._folder.check()
        user = decode((yield from self._get("/me")), UserResult).user
        if user is None:
            raise RefusedError(_UNAUTHORIZED, "identity_required", "A takeout needs a user")
        with self._folder.open(user):
            counts = dict[str, int]()
            post_ids = list[str]()
            for name in LISTS:
                counts[name] = yield from self._copy_list(name, post_ids)
            yield from self._download_originals(post_ids)
        return TakeoutResult(
            folder=os.fsencode(self._folder.path).decode(errors="backslashreplace"),
            user=user,
            **counts,
            originals=self._progress.originals,
            received=self._progress.received,
            missing=self._missing,
        )

    def _get(self, path: str) -> Steps[Reply]:
        reply = yield from self._retries.exchange(Send("GET", path))
        if reply.status >= _FIRST_ERROR:
            raise refusal(reply)
        self._retries.record_progress()
        return reply

    def _copy_list(self, name: str, post_ids: list[str]) -> Steps[int]:
        """Write all pages of a list to its file, and return the number of items. Adds the ids of
        posts whose bytes have arrived to `post_ids`."""
        count, path = 0, LISTS[name]
        with self._folder.open_file(f"{name}.jsonl") as part:
            while path:
                page = decode((yield from self._get(path)), dict[str, Any])
                items = _items_of(page, name)
                part.write(b"".join(msgspec.json.encode(item) + b"\n" for item in items))
                count += len(items)
                if name == "posts":
                    post_ids += [_id_of(item) for item in items if item.get("status") != _AWAITING]
                path = _next_path(LISTS[name], page)
        return count

    def _download_originals(self, post_ids: list[str]) -> Steps[None]:
        complete = self._folder.complete_originals()
        rest = [post_id for post_id in post_ids if post_id not in complete]
        self._show(originals=len(post_ids) - len(rest), total=len(post_ids))
        for post_id in rest:
            try:
                yield from self._download_original(post_id)
            except RefusedError as exc:
                if exc.status != _NOT_FOUND:
                    raise
                self._folder.remove_part(post_id)
                if (yield from self._is_there(post_id)):
                    self._missing.append(post_id)
            else:
                self._show(originals=self._progress.originals + 1)

    def _download_original(self, post_id: str) -> Steps[None]:
        with self._folder.open_original(post_id) as part:
            before = self._progress.received - part.size

            def report(state: Progress) -> None:
                self._show(
                    received=before + state.sent, trouble=state.trouble, retry_in=state.retry_in
                )

            path = f"/posts/{post_id}/original"
            download = FileDownload(path, part.write, self._policy, report, offset=part.size)
            yield from download.steps()

    def _is_there(self, post_id: str) -> Steps[bool]:
        """Return True unless the post was deleted after its list was read."""
        try:
            yield from self._get(f"/posts/{post_id}")
        except RefusedError as exc:
            if exc.status != _NOT_FOUND:
                raise
            return False
        return True

    def _show(self, **changes: object) -> None:
        self._progress = msgspec.structs.replace(self._progress, **changes)
        self._report(self._progress)

    def _report_failure(self, reason: str, wait: float) -> None:
        self._report(msgspec.structs.replace(self._progress, trouble=reason, retry_in=wait))


def _items_of(page: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The items of a page, without signed URLs, which are secrets for some minutes. Raises
    `GaveUpError`."""
    items = page.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise GaveUpError(NO_SUCH_SERVICE)
    return [{key: item[key] for key in item if key != "upload"} for item in items]


def _id_of(post: dict[str, Any]) -> str:
    """The id of a post, which becomes the name of a file. Raises `GaveUpError`."""
    post_id = post.get("id")
    if not isinstance(post_id, str) or _ID.fullmatch(post_id) is None:
        raise GaveUpError(NO_SUCH_SERVICE)
    return post_id


def _next_path(path: str, page: dict[str, Any]) -> str:
    """The path of the following page; empty at the end."""
    cursor = page.get("next")
    return f"{path}&{urlencode({'cursor': cursor})}" if cursor else ""


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise InUseError("another command is using this folder. Wait until it ends") from exc
