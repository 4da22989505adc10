"""`ImageRenderer` with one process for each image: a bad image ends its own process only, never the
service, and affects no later image.

The fork server (`fork_server`) forks the processes. It is started on first use and runs until
`close`. The end of the fork server or of a child shows as the end of its socket.
"""

import asyncio
import contextlib
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec

from image_poster.adapters.images import protocol
from image_poster.adapters.images.confinement import Confinement
from image_poster.adapters.images.memory import MemoryBudget
from image_poster.adapters.images.protocol import Message, RenderSettings
from image_poster.domain.images import (
    RENDITIONS,
    ImageRejectedError,
    ImageWorkFailedError,
    RenderedImage,
)
from image_poster.ports.images import Workspace
from image_poster.ports.tracing import NULL_TRACER, Tracer, now_ns

T = TypeVar("T")
_FORK_SERVER = "image_poster.adapters.images.fork_server"
# What a decoder may know of our environment: nothing. These make Python and libvips start.
_ALLOWED_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")
_ENVIRONMENT = {
    # One thread an image: images run side by side, and the threads of libvips would only add to
    # the processor time that each costs.
    "VIPS_CONCURRENCY": "1",
    # An arena of malloc's for each thread would only take address space, which is bounded.
    "MALLOC_ARENA_MAX": "2",
}
# How often an image whose child ended at work is tried again at once, before that counts; and how
# often one that no child had begun with.
_MAX_RETRIES, _MAX_STARTS = 1, 5
# The kernel's report of a process's time may be less than the time that it ended the process for.
# That is counted by the tick, which is higher on a machine with other work to do.
_CLOCK_SECONDS = 0.5
# The errors of a closed connection depend on the event loop: uvloop's is RuntimeError. They are
# ignored, since the next read notices the end too.
_CLOSED_CONNECTION = (OSError, RuntimeError)
# A child that is killed is gone at once, unless the machine is stuck.
_END_SECONDS = 5


class VipsImageRenderer:
    """Renders at most `children` images at a time, each when `memory` grants its bytes (by default,
    the renderer has a budget of its own). All processes of an image together work for at most
    `timeout_seconds`, and wait for memory no longer than that. `module` is the module of the fork
    server. Call `close` at the end.
    """

    def __init__(
        self,
        settings: RenderSettings,
        *,
        children: int = 1,
        timeout_seconds: float = 60,
        memory: MemoryBudget | None = None,
        module: str = _FORK_SERVER,
        tracer: Tracer = NULL_TRACER,
    ) -> None:
        self._tracer = tracer
        self._memory = memory or MemoryBudget(settings.memory_bytes)
        self._settings = msgspec.structs.replace(
            settings,
            cpu_seconds=math.ceil(timeout_seconds),
            memory_bytes=self._memory.total_bytes,
        )
        self._timeout_seconds = timeout_seconds
        self._places = asyncio.Semaphore(children)
        self._fork_server = ForkServerLauncher(module)
        # The confinement of the last child, None before the first, and the most memory of any.
        self.confinement: Confinement | None = None
        self.peak_bytes = 0

    async def render(self, work: Workspace) -> RenderedImage:
        time = _TimeLeft(_TimeLimit(self._timeout_seconds), _TimeLimit(self._timeout_seconds))
        async with self._places:
            answer = await self._render(work, time, rebuild=False)
            if answer.rejected is not None and answer.rejected[0] == "image_unreadable":
                answer = await self._render(work, time, rebuild=True)
        if answer.rejected is not None:
            raise protocol.check_rejected(*answer.rejected)
        if answer.rendered is None:
            raise ImageWorkFailedError(answer.broke or "no answer")
        return protocol.check_rendered(answer.rendered)

    async def close(self) -> None:
        """End the fork server and all children at work."""
        await self._fork_server.close()
        self._memory.close()

    async def _render(self, work: Workspace, time: "_TimeLeft", *, rebuild: bool) -> Message:
        """Request a child until one answers.

        If a child ends before its work begins, the image is not at fault: retry several times. If a
        child ends at work, the image may be at fault: retry once. Raises `ImageWorkFailedError`,
        and `ImageRejectedError` after `timeout_seconds`.
        """
        request = msgspec.json.encode(msgspec.structs.replace(self._settings, rebuild=rebuild))
        ended_at_work = 0
        for _ in range(_MAX_STARTS):
            try:
                return await self._try_render(work, request, time)
            except _NotStartedError:
                continue
            except _ChildEndedError as exc:
                ended_at_work += 1
                if ended_at_work > _MAX_RETRIES:
                    raise ImageWorkFailedError(str(exc)) from exc
            except _OutOfTimeError as exc:
                # At once and for good: a retry would take that time from other images.
                raise ImageRejectedError(
                    "image_too_slow",
                    f"This image takes longer than {self._timeout_seconds:g} s to process. Save it "
                    "as a usual JPEG, or smaller, and post that.",
                ) from exc
        raise ImageWorkFailedError("no process began work on the image")

    async def _try_render(self, work: Workspace, request: bytes, time: "_TimeLeft") -> Message:
        began_ns = now_ns()
        async with self._child(work, request) as child:
            message = await time.work.wait(child.receive())
            if message is None:
                raise _NotStartedError
            self._tracer.record("fork", began_ns, now_ns())
            if message.needs is not None:
                self.confinement = message.confinement
                async with self._reserve_memory(message.needs, time):
                    child.grant_memory()
                    began_ns = now_ns()
                    message = await time.work.wait(child.receive())
                    self._record_work(began_ns, message)
            if message is None:
                raise _ChildEndedError("the image process ended with the one that started it")
            if message.ended is not None:
                limit = self._settings.cpu_seconds - _CLOCK_SECONDS
                if message.ended == -signal.SIGKILL and message.cpu_seconds >= limit:
                    raise _OutOfTimeError
                raise _ChildEndedError(f"the image process ended with code {message.ended}")
            return message

    def _record_work(self, began_ns: int, message: Message | None) -> None:
        """Record the steps of a child. It may be compromised: both lie within our time."""
        if message is not None and message.rendered is not None:
            ended_ns = now_ns()
            decoded_ns = max(began_ns, ended_ns - round(max(0, message.encode_seconds) * 1e9))
            self._tracer.record("decode", began_ns, decoded_ns)
            self._tracer.record("encode", decoded_ns, ended_ns)

    @asynccontextmanager
    async def _reserve_memory(self, needs: int, time: "_TimeLeft") -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as reserved:
            try:
                memory = self._memory.acquire(needs)
                await time.memory.wait(reserved.enter_async_context(memory))
            except _OutOfTimeError as exc:
                raise ImageWorkFailedError(
                    f"waited too long for {needs:,} bytes of memory"
                ) from exc
            yield

    @asynccontextmanager
    async def _child(self, work: Workspace, request: bytes) -> AsyncIterator["_RenderConnection"]:
        """Start a child with the image; end it at exit in any case."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as until_connected:
            until_connected.callback(ours.close)
            with theirs, _open_files(work) as files:
                is_sent = await self._fork_server.send(request, [*files, theirs.fileno()])
            streams = await asyncio.open_unix_connection(sock=ours, limit=protocol.MAX_LINE_BYTES)
            until_connected.pop_all()
        child = _RenderConnection(*streams)
        try:
            if not is_sent:
                raise _NotStartedError
            yield child
        finally:
            report = await asyncio.shield(child.end())
            if report is not None:
                self.peak_bytes = max(self.peak_bytes, report.peak_bytes)


class _NotStartedError(Exception):
    """The fork server or the child ended before the child began its work."""


class _ChildEndedError(Exception):
    """The child ended while it worked on the image."""


class _OutOfTimeError(Exception):
    """The image took all of its time."""


@dataclass
class _TimeLimit:
    """The remaining seconds of several waits together."""

    seconds: float

    async def wait(self, result: Awaitable[T]) -> T:
        """Wait for a result. Raises `_OutOfTimeError`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(max(0, self.seconds)):
                return await result
        except TimeoutError as exc:
            raise _OutOfTimeError from exc
        finally:
            self.seconds -= loop.time() - began


class _TimeLeft(NamedTuple):
    """The time of an image for its work, and for its wait for memory."""

    work: _TimeLimit
    memory: _TimeLimit


@contextmanager
def _open_files(work: Workspace) -> Iterator[list[int]]:
    """Open the original, to read, and both renditions, to write; yield the descriptors."""
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = [(work.original, os.O_RDONLY)]
    files += [(work.folder / f"{name}.jpg", write) for name in RENDITIONS]
    with contextlib.ExitStack() as opened:
        descriptors = []
        for path, flags in files:
            try:
                descriptors.append(os.open(path, flags | os.O_CLOEXEC, 0o666))
            except OSError as exc:
                raise ImageWorkFailedError(str(exc)) from exc
            opened.callback(os.close, descriptors[-1])
        yield descriptors


@dataclass(frozen=True)
class _RenderConnection:
    """The server's connection to the child of one image."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def receive(self) -> Message | None:
        """Read the next message: the child's, or the fork server's last one about its end. Return
        None if the connection has ended. Raises `ImageWorkFailedError` for an invalid message."""
        try:
            line = await self.reader.readline()
            return protocol.decode_message(line) if line.endswith(b"\n") else None
        except OSError:
            return None
        except ValueError as exc:  # too long a line, or not JSON, or not a message
            raise ImageWorkFailedError("the image process sent an invalid message") from exc

    def grant_memory(self) -> None:
        with contextlib.suppress(*_CLOSED_CONNECTION):
            self.writer.write(protocol.MEMORY_GRANTED)

    async def end(self) -> Message | None:
        """Close the connection, so that the fork server kills the child; return the last
        message."""
        try:
            with contextlib.suppress(*_CLOSED_CONNECTION):
                self.writer.write_eof()
            async with asyncio.timeout(_END_SECONDS):
                message = await self.receive()
                if message is not None and message.ended is None:  # the child was still at work
                    message = await self.receive()
                return message
        except (TimeoutError, ImageWorkFailedError):
            return None
        finally:
            self.writer.close()


class ForkServerLauncher:
    """Keeps one fork server running, and sends it requests."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._running: tuple[asyncio.subprocess.Process, socket.socket] | None = None
        self._starting = asyncio.Lock()

    async def send(self, request: bytes, descriptors: list[int]) -> bool:
        """Request a child; return False if the fork server is gone or does not read."""
        async with self._starting:
            if not self._is_usable():
                self._kill()
                self._running = await _start(self._module)
            assert self._running is not None  # noqa: S101 - for the type checker
            try:
                socket.send_fds(self._running[1], [request], descriptors, socket.MSG_NOSIGNAL)
            except OSError:
                self._kill()
                return False
            return True

    def _is_usable(self) -> bool:
        if self._running is None:
            return False
        process, control = self._running
        return process.returncode is None and control.fileno() >= 0

    def _kill(self) -> None:
        """Kill the fork server, if there is one; `close` waits for its end."""
        if self._running is not None:
            process, control = self._running
            control.close()
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)

    async def close(self) -> None:
        """Close the connection: the fork server kills its children, and ends. Wait for its end."""
        async with self._starting:
            if self._running is not None:
                process, control = self._running
                control.close()
                await asyncio.shield(process.wait())
                self._running = None


async def _start(module: str) -> tuple[asyncio.subprocess.Process, socket.socket]:
    """Start a fork server; return its process, and the socket for requests."""
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
    return process, control


def _environment() -> dict[str, str]:
    """Return the whole environment of a decoder's process: no credentials, no settings."""
    allowed = {name: os.environ[name] for name in _ALLOWED_VARIABLES if name in os.environ}
    # The modules that we have, wherever they are: in a Lambda not where Python looks by itself.
    modules = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return allowed | _ENVIRONMENT | modules
