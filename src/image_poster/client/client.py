"""Both clients: `ImagePosterClient` blocks, and `AsyncImagePosterClient` is for asyncio.

Each call is written once, as a generator of steps that does no I/O over the network (`retries`).
The clients differ only in the execution of a step.
"""

import asyncio
import time
from contextlib import ExitStack, aclosing, closing
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self

import httpx

from image_poster.client.calls import (
    JSON,
    AsyncRunner,
    BlockingRunner,
    Call,
    create,
    decode_post,
    encode_members,
    read,
    read_post,
)
from image_poster.client.images import ImageCalls
from image_poster.client.journal import (
    EntryIdentity,
    RequestJournal,
    UploadIdentity,
    UploadStateStore,
    new_state,
    sha256_of,
)
from image_poster.client.moderation import AccountCalls, ModerationCalls
from image_poster.client.results import CommentResult, Comments, Feed, PostResult, RefusedError
from image_poster.client.retries import Outcome, Pause, Policy, Reply, Send, Step, Steps, exchange
from image_poster.client.transport import (
    Credentials,
    Route,
    Token,
    accepts,
    build_request,
    lower_headers,
    origin_of,
)
from image_poster.client.uploading import (
    ImageUpload,
    ProgressCallback,
    UploadTexts,
    is_late,
    open_source,
)


class ClientCalls(AccountCalls, ImageCalls, ModerationCalls):
    """The calls of one user to one service, by name (`auth=dev`) or by a bearer `token`. A `token`
    function is called when the client is created, and again when the service refuses its last
    token.

    Every call is retried while that may help, and then raises `GaveUpError`; it raises
    `RefusedError` when the service refuses the request. `policy` is for uploads and downloads; of
    other calls, only its `silence`. Raises `ValueError` for an invalid `url`,
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
        self._other_routes = dict[str, Route]()
        self.journal = journal or RequestJournal()

    @Call
    def post(
        self,
        image: Path | BinaryIO,
        *,
        caption: str = "",
        alt: str = "",
        progress: ProgressCallback | None = None,
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
            post = yield from read_post((yield from upload.steps()))
            if entry is not None:
                entry.remove()
            return post

    @Call
    def wait_until_processed(self, post_id: str, seconds: int = 20) -> Steps[PostResult]:
        """The post once it is processed (`ready`, `in_review` or `failed`), or its state after
        `seconds` (at most 20)."""
        request = Send("GET", f"/posts/{post_id}?wait={seconds}", seconds=seconds)
        return decode_post((yield from exchange(request)))

    @Call
    def show(self, post_id: str) -> Steps[PostResult]:
        """One post with its latest comments."""
        return read_post(f"/posts/{post_id}")

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
        return read("/posts", Feed, sort=sort, limit=limit, cursor=cursor, creator=creator)

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
            current = yield from read_post(path)
            if isinstance(post, PostResult) and _edited_fields(current) != _edited_fields(post):
                raise RefusedError(
                    httpx.codes.PRECONDITION_FAILED,
                    "edit_conflict",
                    "Somebody changed this post since you read it. Read it again, then repeat "
                    "your change.",
                )
            etag = current.etag or "*"
        body = encode_members(caption=caption, alt=alt)
        request = Send("PATCH", path, {**JSON, "if-match": etag}, body)
        return decode_post((yield from exchange(request)))

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
        return create(f"/posts/{post_id}/comments", CommentResult, idempotency_key, content=content)

    @Call
    def comments(
        self, post_id: str, *, limit: int = 10, cursor: str | None = None
    ) -> Steps[Comments]:
        """A page of a post's comments."""
        return read(f"/posts/{post_id}/comments", Comments, limit=limit, cursor=cursor)

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

    def _route_of(self, send: Send) -> Route:
        """The route of a request: to the service, or without identity to another one."""
        if send.with_identity:
            return self._route
        origin = origin_of(send.path)
        if origin not in self._other_routes:
            self._other_routes[origin] = Route(origin)
        return self._other_routes[origin]

    def _options(self, route: Route) -> dict[str, Any]:
        """Arguments for httpx's clients."""
        identity = self._credentials.options if route is self._route else {}
        return {**identity, **route.options}


class ImagePosterClient(ClientCalls, BlockingRunner):
    """The blocking client; its arguments and calls are those of `ClientCalls`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for http in self._connections.values():
            http.close()

    @cached_property
    def _connections(self) -> dict[Route, httpx.Client]:
        """The httpx clients by route; each keeps its connections open."""
        return {}

    def execute(self, step: Step) -> Outcome | None:
        """Execute one step of a call."""
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        route = self._route_of(step)
        http = self._connections.get(route)
        if http is None:
            http = self._connections[route] = httpx.Client(**self._options(route))
        request = build_request(http, step, self._policy.silence)
        try:
            with closing(http.send(request, stream=True)) as response:
                if step.sink is not None and accepts(step.sink, response):
                    for chunk in response.iter_bytes():
                        step.sink.write(chunk)
                    return Reply(response.status_code, lower_headers(response), b"")
                response.read()
            return route.outcome(response)
        except httpx.TransportError as exc:
            return route.failure(exc)


class AsyncImagePosterClient(ClientCalls, AsyncRunner):
    """The client for asyncio; its arguments and calls are those of `ClientCalls`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for http in self._connections.values():
            await http.aclose()

    @cached_property
    def _connections(self) -> dict[Route, httpx.AsyncClient]:
        """The httpx clients by route; each keeps its connections open."""
        return {}

    async def execute(self, step: Step) -> Outcome | None:
        """Execute one step of a call."""
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        route = self._route_of(step)
        http = self._connections.get(route)
        if http is None:
            http = self._connections[route] = httpx.AsyncClient(**self._options(route))
        request = build_request(http, step, self._policy.silence)
        try:
            async with aclosing(await http.send(request, stream=True)) as response:
                if step.sink is not None and accepts(step.sink, response):
                    async for chunk in response.aiter_bytes():
                        step.sink.write(chunk)
                    return Reply(response.status_code, lower_headers(response), b"")
                await response.aread()
            return route.outcome(response)
        except httpx.TransportError as exc:
            return route.failure(exc)


def _edited_fields(post: PostResult) -> tuple[str, str, str | None]:
    return post.caption, post.alt, post.edited_at
