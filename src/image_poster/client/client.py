"""Both clients: `ImagePosterClient` blocks, and `AsyncImagePosterClient` is for asyncio.

Each call is written once, as a generator of steps that does no I/O over the network (`retries`).
The clients differ only in the execution of a step.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, closing
from functools import cached_property, update_wrapper
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, Concatenate, Generic, ParamSpec, Self, TypeVar, overload
from urllib.parse import urlencode

import httpx
import msgspec

from image_poster.client.journal import (
    EntryIdentity,
    RequestJournal,
    UploadIdentity,
    UploadStateStore,
    new_state,
    sha256_of,
)
from image_poster.client.results import CommentResult, Comments, Feed, PostResult, RefusedError
from image_poster.client.retries import (
    Outcome,
    Pause,
    Policy,
    Reply,
    Send,
    Step,
    Steps,
    decode,
    exchange,
)
from image_poster.client.transport import Credentials, Route, Token, build_request
from image_poster.client.uploading import ImageUpload, Report, UploadTexts, is_late, open_source

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")
_JSON = {"content-type": "application/json"}


class Call(Generic[Arguments, Value]):
    """A method of both clients, defined by a generator of steps. On the blocking client, the method
    returns the generator's value; on the asynchronous one, a coroutine that returns it."""

    def __init__(self, steps: Callable[Concatenate[Any, Arguments], Steps[Value]]) -> None:
        self._steps = steps

    @overload
    def __get__(
        self, client: None, kind: type
    ) -> Callable[Concatenate[Any, Arguments], Steps[Value]]: ...
    @overload
    def __get__(self, client: "ImagePosterClient", kind: type) -> Callable[Arguments, Value]: ...
    @overload
    def __get__(
        self, client: "AsyncImagePosterClient", kind: type
    ) -> Callable[Arguments, Coroutine[Any, Any, Value]]: ...
    def __get__(self, client: Any, kind: type) -> Any:
        if client is None:
            return self._steps

        def method(*args: Arguments.args, **kwargs: Arguments.kwargs) -> object:
            return client.run(self._steps(client, *args, **kwargs))

        return update_wrapper(method, self._steps)


class ClientCalls:
    """The calls of one user to one service, by name (`auth=dev`) or by a bearer `token`. A `token`
    function is called when the client is created, and again when the service refuses its last
    token.

    Every call is retried while that may help, and then raises `GaveUpError`; it raises
    `RefusedError` when the service refuses the request. `policy` is for uploads; of other
    calls, only its `silence`. Raises `ValueError` for an invalid `url`,
    `SettingError` for an unusable proxy.
    """

    def __init__(
        self,
        url: str,
        user: str | None = None,
        *,
        token: Token | None = None,
        policy: Policy | None = None,
        journal: RequestJournal | None = None,
    ) -> None:
        self._url = url
        self._policy = policy or Policy()
        self._credentials = Credentials(user, token)
        self._user = self._credentials.user or ""
        self._route = Route(url)
        self.journal = journal or RequestJournal()

    @Call
    def post(
        self,
        image: Path | BinaryIO,
        *,
        caption: str = "",
        alt: str = "",
        progress: Report | None = None,
        state_store: UploadStateStore | None = None,
        again: bool = False,
    ) -> Steps[PostResult]:
        """Post an image, despite broken connections; see `wait_until_processed`.

        A file whose upload stopped with an earlier process resumes, unless its texts are different.
        `state_store` stores the state elsewhere than in the user's journal. Raises `InUseError`
        too, and `TooLateError` for an upload that was first sent over 6 days ago. `again` posts
        that anew, on a person's request.
        """
        texts = UploadTexts(caption, alt)
        with ExitStack() as stack:
            source = stack.enter_context(open_source(image))
            entry = None
            if state_store is None and isinstance(image, Path):
                identity = self.upload_identity(image, texts)
                entry = stack.enter_context(self.journal.open_entry(identity))
                if again and is_late(entry.state, time.time()):
                    entry.save(new_state())
            store = state_store or entry or UploadStateStore()
            upload = ImageUpload(source, texts, store, self._policy, progress)
            post = yield from _read_post((yield from upload.steps()))
            if entry is not None:
                entry.remove()
            return post

    @Call
    def wait_until_processed(self, post_id: str, seconds: int = 20) -> Steps[PostResult]:
        """The post once it is `ready` or `failed`, or its state after `seconds` (at most 20)."""
        request = Send("GET", f"/posts/{post_id}?wait={seconds}", seconds=seconds)
        return _decode_post((yield from exchange(request)))

    @Call
    def show(self, post_id: str) -> Steps[PostResult]:
        """One post with its latest comments."""
        return _read_post(f"/posts/{post_id}")

    @Call
    def feed(
        self,
        *,
        sort: str = "top",
        limit: int = 10,
        cursor: str | None = None,
        creator: str | None = None,
    ) -> Steps[Feed]:
        """A page of the feed."""
        return _read("/posts", Feed, sort=sort, limit=limit, cursor=cursor, creator=creator)

    @Call
    def unfinished(self, *, limit: int = 10, cursor: str | None = None) -> Steps[Feed]:
        """A page of the user's own posts that await their image, are processed, or failed, newest
        first."""
        return _read("/posts", Feed, status="unfinished", limit=limit, cursor=cursor)

    @Call
    def edit(
        self, post: PostResult | str, *, caption: str | None = None, alt: str | None = None
    ) -> Steps[PostResult]:
        """Change the caption or alt text of the user's own post, which may be given by its id. None
        leaves a text unchanged.

        Raises `RefusedError` with the code `edit_conflict` if the post has changed since `post` was
        read.
        """
        path = f"/posts/{post if isinstance(post, str) else post.id}"
        etag = None if isinstance(post, str) else post.etag
        if etag is None:
            current = yield from _read_post(path)
            if isinstance(post, PostResult) and _edited_fields(current) != _edited_fields(post):
                raise RefusedError(
                    httpx.codes.PRECONDITION_FAILED,
                    "edit_conflict",
                    "Somebody changed this post since you read it. Read it again, then repeat "
                    "your change.",
                )
            etag = current.etag or "*"
        changes = {"caption": caption, "alt": alt}
        body = {name: text for name, text in changes.items() if text is not None}
        headers = {**_JSON, "if-match": etag}
        request = Send("PATCH", path, headers, msgspec.json.encode(body))
        return _decode_post((yield from exchange(request)))

    @Call
    def delete(self, post_id: str) -> Steps[None]:
        """Delete the user's own post."""
        yield from exchange(Send("DELETE", f"/posts/{post_id}"))

    @Call
    def comment(
        self, post_id: str, content: str, *, idempotency_key: str | None = None
    ) -> Steps[CommentResult]:
        """Comment on a post. Repeating it with the same `idempotency_key` returns the same comment,
        for 7 days."""
        headers = {**_JSON, "idempotency-key": idempotency_key or token_hex(16)}
        body = msgspec.json.encode({"content": content})
        request = Send("POST", f"/posts/{post_id}/comments", headers, body)
        return decode((yield from exchange(request)), CommentResult)

    @Call
    def comments(
        self, post_id: str, *, limit: int = 10, cursor: str | None = None
    ) -> Steps[Comments]:
        """A page of a post's comments."""
        return _read(f"/posts/{post_id}/comments", Comments, limit=limit, cursor=cursor)

    @Call
    def delete_comment(self, post_id: str, comment_id: str) -> Steps[None]:
        """Delete the user's own comment, or a comment on their own post."""
        yield from exchange(Send("DELETE", f"/posts/{post_id}/comments/{comment_id}"))

    def upload_identity(self, image: Path, texts: UploadTexts) -> UploadIdentity:
        """The identity of an upload of this file by this user, in the journal."""
        return UploadIdentity(self._url, self._user, sha256_of(image), *texts)

    def comment_identity(self, post_id: str, content: str) -> EntryIdentity:
        """The identity of a comment by this user, in the journal."""
        return (self._url, self._user, post_id, content)


class ImagePosterClient(ClientCalls):
    """The blocking client; its arguments and calls are those of `ClientCalls`."""

    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(**self._credentials.options, **self._route.options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.close()

    def run(self, steps: Steps[Value]) -> Value:
        """Execute the steps of a call."""
        answer: object = None
        with closing(steps):
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                answer = self._execute(step)

    def _execute(self, step: Step) -> Outcome | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        request = build_request(self._http, step, self._policy.silence)
        try:
            return self._route.outcome(self._http.send(request))
        except httpx.TransportError as exc:
            return self._route.failure(exc)


class AsyncImagePosterClient(ClientCalls):
    """The client for asyncio; its arguments and calls are those of `ClientCalls`."""

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._credentials.options, **self._route.options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._http.aclose()

    async def run(self, steps: Steps[Value]) -> Value:
        """Execute the steps of a call."""
        answer: object = None
        with closing(steps):
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                answer = await self._execute(step)

    async def _execute(self, step: Step) -> Outcome | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        request = build_request(self._http, step, self._policy.silence)
        try:
            return self._route.outcome(await self._http.send(request))
        except httpx.TransportError as exc:
            return self._route.failure(exc)


def _read_post(path: str) -> Steps[PostResult]:
    """Read a post, with all of its stored latest comments."""
    return _decode_post((yield from exchange(Send("GET", f"{path}?comments=10"))))


def _read(path: str, kind: type[Value], **query: object) -> Steps[Value]:
    text = urlencode({name: value for name, value in query.items() if value is not None})
    return decode((yield from exchange(Send("GET", f"{path}?{text}"))), kind)


def _decode_post(reply: Reply) -> PostResult:
    return msgspec.structs.replace(decode(reply, PostResult), etag=reply.headers.get("etag"))


def _edited_fields(post: PostResult) -> tuple[str, str, str | None]:
    return post.caption, post.alt, post.edited_at
