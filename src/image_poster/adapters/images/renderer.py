"""`ImageRenderer` with one process for each image: a bad image ends its own process only, never the
service, and affects no later image.

The fork server (`fork_server`) forks the processes. It is started on first use and kept running.
The end of the fork server or of a child shows as the end of its socket.
"""

import asyncio
import contextlib
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from image_poster.adapters.images import protocol
from image_poster.adapters.images.confinement import Confinement
from image_poster.adapters.images.memory import MemoryBudget, TimeLeft, seconds_until
from image_poster.adapters.images.protocol import Message, RenderSettings
from image_poster.domain.images import (
    RENDITIONS,
    ImageRejectedError,
    ImageWorkFailedError,
    RenderedImage,
)
from image_poster.ports.images import Workspace

_TEMPLATE = "image_poster.adapters.images.fork_server"
# What a decoder may know of our environment: nothing. These make Python and libvips start.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")
_ENVIRONMENT = {
    # One thread an image: images run side by side, and the threads of libvips would only add to
    # the processor time that each costs.
    "VIPS_CONCURRENCY": "1",
    # An arena of malloc's for each thread would only take address space, which is bounded.
    "MALLOC_ARENA_MAX": "2",
}
# How often an image whose child ended at work is tried again at once, before that counts; and how
# often one that no child had begun with.
_SECOND_CHANCES, _CHANCES_UNBEGUN = 1, 5
# By how much what the kernel tells of a process's time may be behind what it ended it for: that is
# counted by the tick, which on a machine with other work to do comes out higher than it was.
_CLOCK_SECONDS = 0.5
# A child that is killed is gone at once, unless the machine is stuck.
_END_SECONDS = 5


class VipsImageRenderer:
    """Renders at most `children` images at a time, each when `memory` grants its bytes (by default,
    the renderer has a budget of its own). All processes of an image together work for at most
    `timeout_seconds`, and wait for memory no longer than that.

    `module` is the module of the fork server. Call `close` at the end.
    """

    def __init__(
        self,
        settings: RenderSettings,
        *,
        children: int = 1,
        timeout_seconds: float = 60,
        memory: MemoryBudget | None = None,
        module: str = _TEMPLATE,
    ) -> None:
        self._cpu_seconds = math.ceil(timeout_seconds)
        self._memory = memory or MemoryBudget(settings.memory_bytes)
        bounded = msgspec.structs.replace(
            settings, cpu_seconds=self._cpu_seconds, memory_bytes=self._memory.total_bytes
        )
        self._request = msgspec.json.encode(bounded)
        self._rebuilding_request = msgspec.json.encode(
            msgspec.structs.replace(bounded, rebuild=True)
        )
        self._timeout_seconds = timeout_seconds
        self._places = asyncio.Semaphore(children)
        self._template = ForkServerLauncher(module)
        self.confinement: Confinement | None = None
        """What confined the last child; None before the first."""
        self.peak_bytes = 0
        """The most memory that a child has had."""

    async def render(self, work: Workspace) -> RenderedImage:
        time = TimeLeft(self._timeout_seconds, self._timeout_seconds)
        async with self._places:
            answer = await self._ask_until_answered(work, self._request, time)
            if answer.rejected is not None and answer.rejected[0] == "image_unreadable":
                answer = await self._ask_until_answered(work, self._rebuilding_request, time)
        if answer.rejected is not None:
            raise protocol.check_rejected(*answer.rejected)
        if answer.rendered is None:
            raise ImageWorkFailedError(answer.broke or "no answer")
        return protocol.check_rendered(answer.rendered)

    async def close(self) -> None:
        """End the fork server and all children at work."""
        await self._template.close()
        self._memory.close()

    async def _ask_until_answered(self, work: Workspace, request: bytes, time: TimeLeft) -> Message:
        """Request a child until one answers.

        If a child ends before its work begins, the image is not at fault: retry several times. If a
        child ends at work, the image may be at fault: retry once. Raises `ImageWorkFailedError`.
        """
        ended_at_work = 0
        for _ in range(_CHANCES_UNBEGUN):
            try:
                return await self._ask(work, request, time)
            except _NotBegunError:
                continue
            except _EndedAtWorkError as exc:
                ended_at_work += 1
                if ended_at_work > _SECOND_CHANCES:
                    raise ImageWorkFailedError(str(exc)) from exc
        raise ImageWorkFailedError("no process could be had for the image")

    async def _ask(self, work: Workspace, request: bytes, time: TimeLeft) -> Message:
        async with self._child(work, request) as child, self._in_time(time) as clock:
            message = await child.hear()
            if message is None:
                raise _NotBegunError
            if message.needs is not None:
                self.confinement = message.confinement
                async with self._memory_for(message.needs, clock, time):
                    child.let_child_continue()
                    message = await child.hear()
            if message is None or message.ended is not None:
                raise self._ended_at_work(message)
            return message

    @asynccontextmanager
    async def _memory_for(
        self, needs: int, clock: asyncio.Timeout, time: TimeLeft
    ) -> AsyncIterator[None]:
        """Hold an image's memory. Its clock for work stops while it waits for memory."""
        loop = asyncio.get_running_loop()
        time.work = seconds_until(clock)
        clock.reschedule(None)
        async with contextlib.AsyncExitStack() as had:
            try:
                async with asyncio.timeout(time.memory) as waiting:
                    await had.enter_async_context(self._memory.taken(needs))
                    time.memory = seconds_until(waiting)
            except TimeoutError as exc:
                raise ImageWorkFailedError(f"no {needs:,} bytes of memory came free") from exc
            clock.reschedule(loop.time() + time.work)
            yield

    @asynccontextmanager
    async def _in_time(self, time: TimeLeft) -> AsyncIterator[asyncio.Timeout]:
        try:
            async with asyncio.timeout(time.work) as clock:
                try:
                    yield clock
                finally:
                    if clock.when() is not None:
                        time.work = seconds_until(clock)
        except TimeoutError as exc:
            raise self._too_slow() from exc

    def _too_slow(self) -> ImageRejectedError:
        """Make the error of an image that took all of its time: a retry would take that time from
        other images."""
        return ImageRejectedError(
            "image_too_slow",
            f"This image takes longer than {self._timeout_seconds:g} s to process. Save it anew "
            "as a usual JPEG, or smaller, and post that.",
        )

    def _ended_at_work(self, last: Message | None) -> Exception:
        if last is None:
            return _EndedAtWorkError("the image process ended with the one that started it")
        had_all_its_time = last.cpu_seconds >= self._cpu_seconds - _CLOCK_SECONDS
        if last.ended == -signal.SIGKILL and had_all_its_time:
            return self._too_slow()
        return _EndedAtWorkError(f"the image process ended with code {last.ended}")

    @asynccontextmanager
    async def _child(self, work: Workspace, request: bytes) -> AsyncIterator["_Child"]:
        """Start a child with the image; end it at exit in any case."""
        template = await self._template.running()
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as until_connected:
            until_connected.callback(ours.close)
            with theirs, _opened(work) as files:
                heard = template.ask(request, [*files, theirs.fileno()])
            streams = await asyncio.open_unix_connection(sock=ours, limit=protocol.MAX_LINE_BYTES)
            until_connected.pop_all()
        child = _Child(*streams)
        try:
            if not heard:
                raise _NotBegunError
            yield child
        finally:
            last = await asyncio.shield(child.end())
            if last is not None:
                self.peak_bytes = max(self.peak_bytes, last.peak_bytes)


class _NotBegunError(Exception):
    """The fork server or the child ended before the child began its work."""


class _EndedAtWorkError(Exception):
    """The child ended while it worked on the image."""


@contextmanager
def _opened(work: Workspace) -> Iterator[list[int]]:
    """Open the original, to read, and both renditions, to write; yield the descriptors."""
    with contextlib.ExitStack() as opened:

        def descriptor(path: Path, flags: int) -> int:
            found = os.open(path, flags | os.O_CLOEXEC, 0o666)
            opened.callback(os.close, found)
            return found

        write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            files = [descriptor(work.original, os.O_RDONLY)]
            files += [descriptor(work.folder / f"{name}.jpg", write) for name in RENDITIONS]
        except OSError as exc:
            raise ImageWorkFailedError(str(exc)) from exc
        yield files


@dataclass(frozen=True)
class _Child:
    """The server's connection to the child of one image."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def hear(self) -> Message | None:
        """Read the next message: the child's, or the fork server's last one about its end. Return
        None if the connection has ended. Raises `ImageWorkFailedError` for an invalid message."""
        try:
            line = await self.reader.readline()
            return protocol.decode_message(line) if line.endswith(b"\n") else None
        except OSError:
            return None
        except ValueError as exc:  # too long a line, or not JSON, or not a message
            raise ImageWorkFailedError("the image process said what makes no sense") from exc

    def let_child_continue(self) -> None:
        with _whatever_a_broken_socket_raises():
            self.writer.write(protocol.GO_ON)

    async def end(self) -> Message | None:
        """Close the connection, so that the fork server kills the child; return the last
        message."""
        try:
            with _whatever_a_broken_socket_raises():
                self.writer.write_eof()
            async with asyncio.timeout(_END_SECONDS):
                return await self._last_word()
        except (TimeoutError, ImageWorkFailedError):
            return None
        finally:
            self.writer.close()

    async def _last_word(self) -> Message | None:
        message = await self.hear()
        if message is not None and message.ended is None:  # of a child that had not heard us yet
            message = await self.hear()
        return message


@contextmanager
def _whatever_a_broken_socket_raises() -> Iterator[None]:
    """Ignore the errors of a closed connection. They depend on the event loop: uvloop raises
    RuntimeError for a closed transport. The next read notices the end too."""
    with contextlib.suppress(OSError, RuntimeError):
        yield


class _Template:
    """The server's connection to the fork server."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self.process = process
        self._control = control

    def ask(self, request: bytes, descriptors: list[int]) -> bool:
        """Request a child; return False if the fork server is gone or does not read."""
        try:
            socket.send_fds(self._control, [request], descriptors, socket.MSG_NOSIGNAL)
        except OSError:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)

    async def end(self) -> None:
        """Close the connection, so that the fork server kills its children and ends; wait for its
        end."""
        self._control.close()
        await self.process.wait()

    @property
    def is_usable(self) -> bool:
        return self.process.returncode is None and self._control.fileno() >= 0


class ForkServerLauncher:
    """Keeps one fork server running."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._template: _Template | None = None
        self._starting = asyncio.Lock()

    async def running(self) -> _Template:
        async with self._starting:
            if self._template is not None and not self._template.is_usable:
                self._template.kill()
                self._template = None
            if self._template is None:
                self._template = await _start(self._module)
            return self._template

    async def close(self) -> None:
        async with self._starting:
            if self._template is not None:
                await asyncio.shield(self._template.end())
                self._template = None


async def _start(module: str) -> _Template:
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.setblocking(False)
    with theirs:
        process = await asyncio.create_subprocess_exec(
            # `-P`: whatever lies in the folder where we were started is no module of ours.
            *(sys.executable, "-P", "-m", module),
            stdin=theirs.fileno(),
            stdout=asyncio.subprocess.DEVNULL,
            env=_environment(),
            # Ctrl-C in a terminal goes to the whole process group; the server decides when it ends.
            start_new_session=True,
        )
    return _Template(process, control)


def _environment() -> dict[str, str]:
    """Return the whole environment of a decoder's process: no credentials, no settings."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    # The modules that we have, wherever they are: in a Lambda not where Python looks by itself.
    modules = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return kept | _ENVIRONMENT | modules
