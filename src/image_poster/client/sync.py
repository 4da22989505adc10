"""The blocking client."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import httpx
import msgspec

from image_poster.client.errors import GaveUpError, RefusedError
from image_poster.domain.comments import Comment
from image_poster.domain.posts import PostWithComments

Progress = Callable[[int, int], None]
Body = TypeVar("Body")

_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0


class Feed(msgspec.Struct, frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[PostWithComments]
    next: str | None


class _Counted:
    """A file that tells how much of it has been read; httpx streams it piece by piece."""

    def __init__(self, file: BinaryIO, size: int, progress: Progress) -> None:
        self._file = file
        self._size = size
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._progress(self._file.tell(), self._size)
        return piece

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a file can do
        return getattr(self._file, name)


class ImagePosterClient:
    """A connection to one service as one user.

    Every call raises `RefusedError` when the service says no, and `GaveUpError` when it cannot be
    reached.
    """

    def __init__(self, url: str, user: str | None = None) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={b"user-id": user.encode()} if user else {},
            timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def post(
        self, file: Path, *, caption: str = "", alt: str = "", progress: Progress | None = None
    ) -> PostWithComments:
        """Post a picture; `progress` is called with the bytes read so far and their total.

        The post is `processing`; see `wait_until_processed`.
        """
        size = file.stat().st_size
        with file.open("rb") as opened:
            counted = _Counted(opened, size, progress or (lambda _done, _total: None))
            answer = self._send(
                "POST",
                "/posts",
                files={"image": (file.name, counted, "application/octet-stream")},
                data={"caption": caption, "alt": alt},
            )
        return self._decoded(answer, PostWithComments)

    def wait_until_processed(self, post_id: str, seconds: int = 20) -> PostWithComments:
        """The post once it is `ready` or `failed`, or as it is after that many seconds (most
        20)."""
        return self._decoded(
            self._send("GET", f"/posts/{post_id}", params={"wait": seconds}), PostWithComments
        )

    def show(self, post_id: str) -> PostWithComments:
        """One post with its latest comments."""
        return self._decoded(
            self._send("GET", f"/posts/{post_id}", params={"comments": 10}), PostWithComments
        )

    def feed(self, *, sort: str = "top", limit: int = 10, cursor: str | None = None) -> Feed:
        """A page of the feed."""
        question = {"sort": sort, "limit": limit} | ({"cursor": cursor} if cursor else {})
        return self._decoded(self._send("GET", "/posts", params=question), Feed)

    def comment(self, post_id: str, content: str) -> Comment:
        """Comment on a post."""
        answer = self._send("POST", f"/posts/{post_id}/comments", json={"content": content})
        return self._decoded(answer, Comment)

    def delete(self, post_id: str) -> None:
        """Delete one's own post."""
        self._send("DELETE", f"/posts/{post_id}")

    def _send(self, method: str, path: str, **parts: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        try:
            answer = self._http.request(method, path, **parts)
        except httpx.TransportError as exc:
            raise GaveUpError(f"{self._http.base_url}: {type(exc).__name__} {exc}") from exc
        if answer.is_success:
            return answer
        raise _refusal(answer)

    @staticmethod
    def _decoded(answer: httpx.Response, kind: type[Body]) -> Body:
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as exc:
            raise GaveUpError(f"{answer.url} does not answer as image-poster-api does") from exc


class _Problem(msgspec.Struct):
    code: str
    detail: str


def _refusal(answer: httpx.Response) -> Exception:
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        return GaveUpError(f"{answer.url} answered {answer.status_code} without saying why")
    return RefusedError(answer.status_code, problem.code, problem.detail)
