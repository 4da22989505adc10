"""The client for asyncio; `sync` is its twin."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

import httpx

from image_poster.client import calls, transport
from image_poster.client.journal import Journal
from image_poster.client.posting import Desk, Draft, Report, UploadJob, UploadStateStore
from image_poster.client.results import Comment, Comments, Feed, Post
from image_poster.client.retries import Policy
from image_poster.client.steps import Outcome, Pause, Send, Steps

Value = TypeVar("Value")


class AsyncImagePosterClient:
    """One user of one service, by name (`auth=dev`) or by a bearer `token`. A `token` function is
    called at once, and again when the service refuses its last token.

    Every call is retried while that may help, and then raises `GaveUpError`; it raises
    `RefusedError` when the service refuses the request. `policy` is for uploads. Raises
    `ValueError` for an invalid `url`, `SettingError` for an unusable proxy.
    """

    def __init__(
        self,
        url: str,
        user: str | None = None,
        *,
        token: transport.Token | None = None,
        policy: Policy | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._policy = policy or Policy()
        self._who = transport.Credentials(user, token)
        self._route = transport.Route(url)
        self._http = httpx.AsyncClient(headers=self._who.headers, **self._route.options)
        self.desk = Desk(url, self._who.user, journal or Journal())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def post(
        self,
        image: Path | BinaryIO,
        *,
        caption: str = "",
        alt: str = "",
        progress: Report | None = None,
        held: UploadStateStore | None = None,
        again: bool = False,
    ) -> Post:
        """Post an image, despite broken connections; see `wait_until_processed`.

        A file whose upload stopped with an earlier process resumes, unless its texts are different.
        `held` stores the state elsewhere than in the user's journal. Raises `InUseError` too, and
        `TooLateError` for an upload that was first sent over 6 days ago. `again` posts that anew,
        on a person's request.
        """
        with self.desk.job(Draft(image, caption, alt), held, again=again) as job:
            return await self._run(job.steps(self._policy, progress), job)

    async def wait_until_processed(self, post_id: str, seconds: int = 20) -> Post:
        """The post once it is `ready` or `failed`, or its state after `seconds` (at most 20)."""
        return await self._run(calls.wait_until_processed(f"/posts/{post_id}", seconds))

    async def show(self, post_id: str) -> Post:
        """One post with its latest comments."""
        return await self._run(calls.show(f"/posts/{post_id}"))

    async def feed(
        self,
        *,
        sort: str = "top",
        limit: int = 10,
        cursor: str | None = None,
        creator: str | None = None,
    ) -> Feed:
        """A page of the feed."""
        return await self._run(calls.feed(sort=sort, limit=limit, cursor=cursor, creator=creator))

    async def unfinished(self, *, limit: int = 10, cursor: str | None = None) -> Feed:
        """A page of the user's own posts that await their image, are processed, or failed, newest
        first."""
        return await self._run(calls.feed(status="unfinished", limit=limit, cursor=cursor))

    async def edit(
        self, post: Post | str, *, caption: str | None = None, alt: str | None = None
    ) -> Post:
        """Change the caption or alt text of the user's own post, or of the one with this id; None
        keeps a text.

        Raises `RefusedError` with the code `edit_conflict` if the post has changed since `post` was
        read.
        """
        return await self._run(calls.edit(post, caption=caption, alt=alt))

    async def delete(self, post_id: str) -> None:
        """Delete the user's own post."""
        await self._run(calls.delete(f"/posts/{post_id}"))

    async def comment(
        self, post_id: str, content: str, *, idempotency_key: str | None = None
    ) -> Comment:
        """Comment on a post. Repeating it with the same `idempotency_key` returns the same comment,
        for 7 days."""
        return await self._run(calls.comment(post_id, content, idempotency_key))

    async def comments(
        self, post_id: str, *, limit: int = 10, cursor: str | None = None
    ) -> Comments:
        """A page of a post's comments."""
        return await self._run(calls.comments(post_id, limit=limit, cursor=cursor))

    async def delete_comment(self, post_id: str, comment_id: str) -> None:
        """Delete the user's own comment, or a comment on their own post."""
        await self._run(calls.delete(f"/posts/{post_id}/comments/{comment_id}"))

    async def _run(self, steps: Steps[Value], job: UploadJob | None = None) -> Value:
        answer: object = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Send):
                answer = await self._send(step)
            elif isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                answer = None
            elif job is not None:
                answer = job.do(step)

    async def _send(self, send: Send) -> Outcome:
        sent = self._who.token
        outcome = await self._exchange(send)
        is_refused = transport.is_unauthorized(outcome)
        if is_refused and await asyncio.to_thread(self._who.renew, sent):
            self._http.headers.update(self._who.headers)
            return await self._exchange(send)
        return outcome

    async def _exchange(self, send: Send) -> Outcome:
        try:
            answer = await self._http.request(
                **transport.request_of(send, _slices(send), self._policy.silence)._asdict()
            )
        except httpx.TransportError as exc:
            return transport.cut_of(self._route, exc)
        return transport.outcome_of(self._route, answer)


async def _slices(send: Send) -> AsyncIterator[bytes]:
    for part in transport.slices(send):
        yield part
