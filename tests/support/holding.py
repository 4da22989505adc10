"""Connections of a hostile client: each attack is a block, within which it goes on."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

ATTACKER = "127.66.6.6"  # another address than those who are to be served


@dataclass(frozen=True)
class Target:
    """The address of a server; `host` is its name in requests, `tls` is None for plain HTTP."""

    address: tuple[str, int]
    host: str
    tls: ssl.SSLContext | None = None

    def connect(self, *, window_bytes: int | None = None) -> socket.socket:
        """A connection, with TLS if there is any; `window_bytes` is how much it takes unread."""
        raw = self.connect_only(window_bytes=window_bytes)
        if self.tls is None:
            return raw
        return self.tls.wrap_socket(raw, server_hostname=self.host)

    def connect_only(self, *, window_bytes: int | None = None) -> socket.socket:
        """A connection on which nothing is said."""
        raw = socket.socket()
        raw.settimeout(30)
        if window_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        raw.bind((ATTACKER, 0))
        raw.connect(self.address)
        return raw


@contextmanager
def _open_connections(connections: Iterator[socket.socket]) -> Iterator[list[socket.socket]]:
    """All of them, until the end of the block."""
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        with contextlib.suppress(OSError):  # no more are let in, which is an answer too
            for connection in connections:
                sockets.append(stack.enter_context(connection))  # noqa: PERF401 - one may be the last
        yield sockets


def idle(target: Target, count: int) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Connections on which nothing is ever said, not even hello."""
    return _open_connections(target.connect_only() for _ in range(count))


def unfinished_heads(
    target: Target, count: int
) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Requests whose head has no end."""
    head = f"GET /posts HTTP/1.1\r\nHost: {target.host}\r\nX-Filler: {'x' * 6000}"
    return _open_connections(_connection_that_sent(target, head.encode()) for _ in range(count))


def unfinished_bodies(
    target: Target, count: int, *headers: str
) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Requests with the first byte of a body."""
    lines = [
        "POST /posts HTTP/1.1",
        f"Host: {target.host}",
        "Content-Type: application/json",
        "Content-Length: 1000",
        *headers,
    ]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n{"
    return _open_connections(_connection_that_sent(target, request) for _ in range(count))


def unread_answers(
    target: Target, count: int, path: str
) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Requests for something long, whose answer is never read."""
    request = f"GET {path} HTTP/1.1\r\nHost: {target.host}\r\n\r\n".encode()
    return _open_connections(
        _connection_that_sent(target, request, window_bytes=4096) for _ in range(count)
    )


def _connection_that_sent(
    target: Target, request: bytes, *, window_bytes: int | None = None
) -> socket.socket:
    connection = target.connect(window_bytes=window_bytes)
    connection.sendall(request)
    return connection
