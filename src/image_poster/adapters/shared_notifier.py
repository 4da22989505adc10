"""Notifications between all processes of one server. Each process has a datagram socket to receive,
and the sending ends of the other processes' sockets."""

import asyncio
import contextlib
import socket
from typing import NamedTuple

_MAX_BYTES = 64


class NotifierDescriptors(NamedTuple):
    """The descriptors of one process: `hears` receives, `rings` send to the other processes."""

    hears: int
    rings: tuple[int, ...]


class SharedNotifier:
    """A `PostNotifier` over datagram sockets between worker processes.

    Create it on the event loop, with inherited descriptors; without them it notifies this process
    only. A notification to a full buffer is lost: a waiting caller polls as well."""

    def __init__(self, descriptors: NotifierDescriptors | None = None) -> None:
        self._waiting: dict[str | None, set[asyncio.Future[None]]] = {}
        self._hears: socket.socket | None = None
        self._rings: list[socket.socket] = []
        if descriptors is not None:
            self._hears = _opened(descriptors.hears)
            self._rings = [_opened(one) for one in descriptors.rings]
            asyncio.get_running_loop().add_reader(self._hears, self._receive, self._hears)

    @staticmethod
    def descriptors(processes: int) -> list[NotifierDescriptors]:
        """Create the descriptors for a number of processes."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(processes)]
        hears = [one.detach() for one, _ in pairs]
        rings = [other.detach() for _, other in pairs]
        return [
            NotifierDescriptors(here, tuple(rings[:at] + rings[at + 1 :]))
            for at, here in enumerate(hears)
        ]

    def notify(self, post_id: str) -> None:
        self._wake(post_id)
        for other in self._rings:
            with contextlib.suppress(OSError):
                other.send(post_id.encode())

    async def wait(self, post_id: str | None, seconds: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(post_id, set()).add(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._forget(post_id, waiter)

    def close(self) -> None:
        """Stop receiving and close the sockets."""
        if self._hears is not None:
            asyncio.get_running_loop().remove_reader(self._hears)
            self._hears.close()
        for other in self._rings:
            other.close()

    def _receive(self, here: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._wake(here.recv(_MAX_BYTES).decode())

    def _wake(self, post_id: str) -> None:
        for waited_for in (post_id, None):
            for waiter in self._waiting.get(waited_for, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _forget(self, post_id: str | None, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiting[post_id]
        waiters.discard(waiter)
        if not waiters:
            del self._waiting[post_id]


def _opened(descriptor: int) -> socket.socket:
    found = socket.socket(fileno=descriptor)
    found.setblocking(False)
    found.set_inheritable(False)
    return found
