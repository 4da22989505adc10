"""`ImageRenderer` with child processes: a bad image can cost one of them, never the service."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from image_poster.adapters.vips.child import BEGUN, RenderAnswer, RenderRequest
from image_poster.adapters.vips.pipeline import RenderSettings
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError, RenderedImage
from image_poster.ports.images import Workspace

# `-P`: whatever lies in the folder where we were started is no module of ours.
_COMMAND = (sys.executable, "-P", "-m", "image_poster.adapters.vips.child")
# One thread an image: images run side by side, and the threads of libvips would only add to the
# processor time that each costs.
_ENVIRONMENT = {"VIPS_CONCURRENCY": "1"}
_decode = msgspec.json.Decoder(RenderAnswer).decode

# How often an image whose child ended at work is tried again at once, before that counts.
_SECOND_CHANCES = 1

Child = asyncio.subprocess.Process


class VipsImageRenderer:
    """At most `children` images at a time; an image gets `timeout_seconds`, then its process
    ends.

    Children are started when first needed and kept; call `close` at the end.
    """

    def __init__(
        self, settings: RenderSettings, *, children: int = 1, timeout_seconds: float = 60
    ) -> None:
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._places = asyncio.Semaphore(children)
        self._idle: list[Child] = []

    async def render(self, work: Workspace) -> RenderedImage:
        request = RenderRequest(str(work.original), str(work.folder), self._settings)
        async with self._places:
            answer = _decode(await self._ask_until_answered(msgspec.json.encode(request) + b"\n"))
        if answer.rejected is not None:
            raise ImageRejectedError(*answer.rejected)
        if answer.rendered is None:
            raise ImageWorkFailedError(answer.broke or "no answer")
        return answer.rendered

    async def close(self) -> None:
        """End all children that are idle; one at work ends with its task."""
        while self._idle:
            await _end(self._idle.pop())

    async def _ask_until_answered(self, line: bytes) -> bytes:
        """Ask a child, and the next at once if it has ended: any number of those that were idle,
        since that is no fault of the image's; but only one that ended at its work, since that
        may be."""
        ended_at_work = 0
        while True:
            try:
                return await self._ask_one(line)
            except _EndedIdleError as exc:
                if exc.new:
                    raise ImageWorkFailedError("a new image process ended at once") from exc
            except _EndedAtWorkError as exc:
                ended_at_work += 1
                if ended_at_work > _SECOND_CHANCES:
                    raise ImageWorkFailedError(str(exc)) from exc

    async def _ask_one(self, line: bytes) -> bytes:
        new = not self._idle
        async with self._child() as child, self._in_time():
            if not await _is_heard(child, line):
                raise _EndedIdleError(new=new)
            answer = await _lines_of(child).readline()
            if not answer.endswith(b"\n"):
                code = await child.wait()
                raise _EndedAtWorkError(f"the image process ended with code {code}")
            return answer

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except TimeoutError as exc:
            raise ImageWorkFailedError(f"no answer within {self._timeout_seconds:g} s") from exc

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[Child]:
        """A child to ask; one that did not answer properly is ended, not used again."""
        child = self._idle.pop() if self._idle else await _start()
        try:
            yield child
        except BaseException:
            await _end(child)
            raise
        self._idle.append(child)


class _EndedIdleError(Exception):
    """The child had ended, or ended before it began with the image; it may have been new."""

    def __init__(self, *, new: bool) -> None:
        super().__init__()
        self.new = new


class _EndedAtWorkError(Exception):
    """The child ended with the image in its hands."""


async def _is_heard(child: Child, line: bytes) -> bool:
    """Send a request; whether the child lived to begin with it, as it says itself."""
    assert child.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
    try:
        child.stdin.write(line)
        await child.stdin.drain()
    # Which error tells of a pipe without a reader is up to the loop: uvloop has a RuntimeError for
    # a transport that has noticed, asyncio says nothing at all.
    except (OSError, RuntimeError):
        return False
    return await _lines_of(child).readline() == BEGUN


def _lines_of(child: Child) -> asyncio.StreamReader:
    assert child.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
    return child.stdout


async def _start() -> Child:
    # The modules that we have, wherever they are: in a Lambda not where Python looks by itself.
    modules = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | _ENVIRONMENT | modules,
        # Ctrl-C in a terminal goes to the whole process group; the parent decides when we end.
        start_new_session=True,
    )


async def _end(child: Child) -> None:
    if child.returncode is None:
        child.kill()
    await asyncio.shield(child.wait())
