"""`ImageRenderer` with child processes: a bad picture can cost one of them, never the service."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from image_poster.adapters.vips.child import RenderAnswer, RenderRequest
from image_poster.adapters.vips.pipeline import RenderSettings
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError, RenderedImage
from image_poster.ports.picture_store import Workspace

# `-P`: whatever lies in the folder where we were started is no module of ours.
_COMMAND = (sys.executable, "-P", "-m", "image_poster.adapters.vips.child")
# One thread a picture: pictures run side by side, and the threads of libvips would only add to the
# processor time that each costs.
_ENVIRONMENT = {"VIPS_CONCURRENCY": "1"}
_decode = msgspec.json.Decoder(RenderAnswer).decode

Child = asyncio.subprocess.Process


class VipsImageRenderer:
    """At most `children` pictures at a time; a picture gets `timeout_seconds`, then its process
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
        async with self._places, self._child() as child:
            line = await self._ask(child, msgspec.json.encode(request) + b"\n")
        answer = _decode(line)
        if answer.rejected is not None:
            raise ImageRejectedError(*answer.rejected)
        if answer.rendered is None:
            raise ImageWorkFailedError(answer.broke or "no answer")
        return answer.rendered

    async def close(self) -> None:
        """End all children that are idle; one at work ends with its task."""
        while self._idle:
            await _end(self._idle.pop())

    async def _ask(self, child: Child, line: bytes) -> bytes:
        assert child.stdin is not None  # noqa: S101 - for the type checker: both are pipes
        assert child.stdout is not None  # noqa: S101
        try:
            async with asyncio.timeout(self._timeout_seconds):
                child.stdin.write(line)
                await child.stdin.drain()
                answer = await child.stdout.readline()
        except TimeoutError as exc:
            raise ImageWorkFailedError(f"no answer within {self._timeout_seconds:g} s") from exc
        except ConnectionError as exc:
            raise ImageWorkFailedError("the image process ended before it was asked") from exc
        if not answer.endswith(b"\n"):
            code = await child.wait()
            raise ImageWorkFailedError(f"the image process ended with code {code}")
        return answer

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
