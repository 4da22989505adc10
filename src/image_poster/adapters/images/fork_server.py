"""The fork server: it imports everything, opens nothing, and forks one child for each image.

It never touches an image itself, so it stays single-threaded. A compromised decoder finds no data
of another image in it. It ends when the server closes its socket or dies.
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

from image_poster.adapters.images.child import Work, run
from image_poster.adapters.images.protocol import Descriptors, Message, RenderSettings, line_of

# Requests are answered first, images after: the children yield the processor to the server.
_NICENESS = 10
# What a child has: standard streams that lead nowhere, and its four descriptors behind them.
_STANDARD_STREAMS = 3
_GIVEN = 4
_OUT_OF_THE_WAY = 16
_MAX_REQUEST_BYTES = 4096

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

    def __init__(self, control: socket.socket, work: Work) -> None:
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
                    self._look_at(descriptor, event)
                elif not self._take():
                    return self._kill_all()

    def _take(self) -> bool:
        """Receive one request; return False after the last one. If there are too many files or
        processes, close the request's socket: the server asks again."""
        payload, given, _, _ = socket.recv_fds(self._control, _MAX_REQUEST_BYTES, _GIVEN)
        if payload and len(given) == _GIVEN:
            try:
                self._fork(_decode_settings(payload), Descriptors(*given))
            except OSError as exc:
                sys.stderr.write(f"no process for an image: {exc}\n")
                _close(given[-1])
            given = given[:-1]  # the last is kept, to tell how the child ended
        _close(*given)
        return bool(payload)

    def _fork(self, settings: RenderSettings, given: Descriptors) -> None:
        template = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(settings, given, template)
        child = _Child(pid, os.pidfd_open(pid), given.answers)
        for descriptor, events in ((child.end, select.POLLIN), (child.answers, select.POLLRDHUP)):
            self._children[descriptor] = child
            self._poll.register(descriptor, events)

    def _become_child(self, settings: RenderSettings, given: Descriptors, template: int) -> None:
        """Run the child's work and end the process; never return, not even after an error."""
        code = 1
        try:
            self._control.detach()
            run(self._work, _keep_only(given), settings, template)
            code = 0
        finally:
            os._exit(code)

    def _look_at(self, descriptor: int, event: int) -> None:
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
        code = os.waitstatus_to_exitcode(status)
        ended = Message(
            ended=code,
            peak_bytes=usage.ru_maxrss * 1024,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
        )
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(child.answers)) as answers:
            answers.send(line_of(ended), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        for descriptor in (child.end, child.answers):
            del self._children[descriptor]
            with contextlib.suppress(KeyError):
                self._poll.unregister(descriptor)
            os.close(descriptor)

    def _kill_all(self) -> None:
        for child in set(self._children.values()):
            child.kill()
            os.waitpid(child.pid, 0)


def _keep_only(given: Descriptors) -> Descriptors:
    """Move these descriptors to the first places after the standard streams; close all others."""
    old = (given.original, given.small, given.large, given.answers)
    above = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _OUT_OF_THE_WAY) for descriptor in old]
    new = [os.dup2(descriptor, _STANDARD_STREAMS + at) for at, descriptor in enumerate(above)]
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(_STANDARD_STREAMS):
        os.dup2(nowhere, stream)
    os.closerange(_STANDARD_STREAMS + _GIVEN, os.sysconf("SC_OPEN_MAX"))
    return Descriptors(*new)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def start(work: Work) -> None:
    """Serve requests from the socket that is standard input."""
    os.nice(_NICENESS)
    _be_the_first_to_go()
    gc.freeze()  # what is here already stays shared with the children
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    ForkServer(control, work).serve()


def _be_the_first_to_go() -> None:
    """Make the kernel end a child, not the server, when memory runs out (proc(5))."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def main() -> None:
    """Start the fork server with the real decoders; tests start it with other work."""
    # Loads libvips and everything that a confined child could not load any more.
    from image_poster.adapters.images.pipeline import work  # noqa: PLC0415

    start(work)


if __name__ == "__main__":
    main()
