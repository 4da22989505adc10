"""The fork server: it imports everything, opens nothing, and forks one child for each image.

It never touches an image itself, so it stays single-threaded. A compromised decoder finds no data
of another image in it. It ends when the server closes its socket or dies.

A child confines itself before it reads a byte, and estimates the image's memory from the header. It
waits until the server grants that memory; only then does a decoder begin (docs/decisions/0020).
"""

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from image_poster.adapters.images import confinement
from image_poster.adapters.images.protocol import (
    MEMORY_GRANTED,
    AcquireMemory,
    Descriptors,
    Message,
    RenderSettings,
    RenderWork,
)
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError

# Requests are answered first, images after: the children yield the processor to the server.
_NICENESS = 10
# What a child has: standard streams that lead nowhere, and its four descriptors behind them.
_STANDARD_STREAMS = 3
_DESCRIPTORS = 4
_FIRST_FREE_DESCRIPTOR = 16
_MAX_REQUEST_BYTES = 4096
# Beside what an image takes: the stacks and arenas of threads, which are reserved, not used.
_RESERVED_BYTES = 320_000_000
_MAX_TEXT = 1000

_decode_settings = msgspec.json.Decoder(RenderSettings).decode


@dataclass(frozen=True)
class _Child:
    """A running child: its process id, a pidfd that reports its end, and its image's socket."""

    pid: int
    end: int
    answers: int

    def kill(self) -> None:
        """Kill the child and all processes that it started."""
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self.pid, signal.SIGKILL)


class ForkServer:
    """Receives requests from `control` and forks a child for each, which does `work`."""

    def __init__(self, control: socket.socket, work: RenderWork) -> None:
        self._control = control
        self._work = work
        self._children: dict[int, _Child] = {}  # by each of their two descriptors
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> None:
        """Serve requests until the server closes its end; then kill the running children."""
        while True:
            for descriptor, event in self._poll.poll():
                if descriptor != self._control.fileno():
                    self._handle_child_event(descriptor, event)
                elif not self._receive_request():
                    return self._kill_all()

    def _receive_request(self) -> bool:
        """Receive one request; return False after the last one. If there are too many files or
        processes, close the request's socket: the server asks again."""
        payload, received, _, _ = socket.recv_fds(self._control, _MAX_REQUEST_BYTES, _DESCRIPTORS)
        if payload and len(received) == _DESCRIPTORS:
            try:
                self._fork(_decode_settings(payload), Descriptors(*received))
            except OSError as exc:
                sys.stderr.write(f"cannot start an image process: {exc}\n")
                os.close(received[-1])
            received = received[:-1]  # the last stays open, to report how the child ended
        for descriptor in received:
            os.close(descriptor)
        return bool(payload)

    def _fork(self, settings: RenderSettings, descriptors: Descriptors) -> None:
        fork_server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(settings, descriptors, fork_server)
        child = _Child(pid, os.pidfd_open(pid), descriptors.answers)
        for descriptor, events in ((child.end, select.POLLIN), (child.answers, select.POLLRDHUP)):
            self._children[descriptor] = child
            self._poll.register(descriptor, events)

    def _become_child(
        self, settings: RenderSettings, descriptors: Descriptors, fork_server: int
    ) -> None:
        """Run the child's work and end the process; never return, not even after an error."""
        code = 1
        try:
            self._control.detach()
            _run_child(self._work, _close_others(descriptors), settings, fork_server)
            code = 0
        finally:
            os._exit(code)

    def _handle_child_event(self, descriptor: int, event: int) -> None:
        child = self._children.get(descriptor)
        if child is None:
            return  # it ended in this very round
        if descriptor == child.answers:
            self._poll.unregister(child.answers)  # the server has hung up: told once is enough
            child.kill()
        elif event:
            self._reap(child)

    def _reap(self, child: _Child) -> None:
        child.kill()  # what it may have started, where the kernel has no seccomp
        _, status, usage = os.wait4(child.pid, 0)
        report = Message(
            ended=os.waitstatus_to_exitcode(status),
            peak_bytes=usage.ru_maxrss * 1024,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
        )
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(child.answers)) as answers:
            answers.send(report.line(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        for descriptor in (child.end, child.answers):
            del self._children[descriptor]
            with contextlib.suppress(KeyError):
                self._poll.unregister(descriptor)
            os.close(descriptor)

    def _kill_all(self) -> None:
        for child in set(self._children.values()):
            child.kill()
            os.waitpid(child.pid, 0)


def _close_others(descriptors: Descriptors) -> Descriptors:
    """Move these descriptors to the first places after the standard streams; close all others."""
    old = msgspec.structs.astuple(descriptors)
    above = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _FIRST_FREE_DESCRIPTOR) for descriptor in old]
    new = [os.dup2(descriptor, _STANDARD_STREAMS + at) for at, descriptor in enumerate(above)]
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(_STANDARD_STREAMS):
        os.dup2(nowhere, stream)
    os.closerange(_STANDARD_STREAMS + _DESCRIPTORS, os.sysconf("SC_OPEN_MAX"))
    return Descriptors(*new)


def _run_child(
    work: RenderWork, descriptors: Descriptors, settings: RenderSettings, fork_server: int
) -> None:
    """Do the work of one image, confined, and send the result. When the process `fork_server` ends,
    the kernel ends this one."""
    confinement.end_with_parent(fork_server)
    os.setsid()
    mapped = confinement.address_space_bytes() + _RESERVED_BYTES
    measures = confinement.confine(settings.cpu_seconds, mapped + settings.memory_bytes)

    def acquire_memory(needs: int) -> None:
        os.write(descriptors.answers, Message(needs=needs, confinement=measures).line())
        if os.read(descriptors.answers, len(MEMORY_GRANTED)) != MEMORY_GRANTED:
            os._exit(0)  # nobody waits for this image any more
        confinement.limit_address_space(mapped + needs)

    os.write(descriptors.answers, _result(work, descriptors, settings, acquire_memory).line())


def _result(
    work: RenderWork,
    descriptors: Descriptors,
    settings: RenderSettings,
    acquire_memory: AcquireMemory,
) -> Message:
    """Return the result of the work; any exception becomes a message."""
    try:
        return work(descriptors, settings, acquire_memory)
    except ImageRejectedError as exc:
        return Message(rejected=(exc.code, exc.detail[:_MAX_TEXT]))
    except ImageWorkFailedError as exc:
        return Message(broke=str(exc)[:_MAX_TEXT])
    except Exception as exc:  # noqa: BLE001 - the server decides what to do about it
        return Message(broke=f"{type(exc).__name__}: {exc}"[:_MAX_TEXT])


def start(work: RenderWork) -> None:
    """Serve requests from the socket that is standard input."""
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        # When memory runs out, the kernel ends a child, not the server (proc(5)).
        Path("/proc/self/oom_score_adj").write_text("1000")
    gc.freeze()  # what is here already stays shared with the children
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    ForkServer(control, work).serve()


def main() -> None:
    """Start the fork server with the real decoders; tests start it with other work."""
    # Loads libvips and everything that a confined child could not load any more.
    from image_poster.adapters.images.pipeline import work  # noqa: PLC0415

    start(work)


if __name__ == "__main__":
    main()
