"""An ASGI server in this process, by Granian, on a socket, until a signal stops it.

It runs in this process so that `kill -9` leaves no child process that still holds the port.
"""

import asyncio
import contextlib
import errno
import gc
import ipaddress
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar.types import ASGIApp, Receive, Scope, Send

from image_poster.editions import StartError

GRACE_SECONDS = 9.0
_ENDING_SECONDS = 1.0
_BACKLOG = 4096
# The server closes a connection that has had no request in progress for so long.
_IDLE_SECONDS = 30
# Also the bytes of one read. A connection that never ends its head uses as much memory.
_HEAD_BYTES = 64 * 1024
_UNREAD_SECONDS = 30
_MAX_CONNECTIONS = 16_384
_OTHER_FILES = 512
_DESCRIPTORS = Path("/proc/self/fd")  # Linux only


def resolve_address(host: str) -> str:
    """Resolve a host name such as `localhost` to an address, by preference IPv4. An IPv4 address
    written as IPv6 becomes IPv4. Raises `StartError`."""
    name = host.removeprefix("[").removesuffix("]")
    try:
        entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM) if name else []
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not a host name"
        raise StartError(f"host {host!r} cannot be resolved: {reason}.") from exc
    if not entries:
        raise StartError("host must be an address or a name, such as 127.0.0.1; it is empty.")
    by_family = sorted(entries, key=lambda entry: entry[0] != socket.AF_INET)
    address = str(by_family[0][4][0])
    if "%" in address:
        raise StartError(f"host {host!r} has a zone, which is not supported. Use :: or 0.0.0.0.")
    mapped = ":" in address and ipaddress.IPv6Address(address).ipv4_mapped
    return str(mapped) if mapped else address


@contextmanager
def reserve_port(host: str, port: int) -> Iterator[int]:
    """Hold `host:port` for processes that share it (SO_REUSEPORT); port 0 becomes a free one.

    A first bind without sharing detects another program on the port; a free port is not let go
    again. Raises `StartError`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if port:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        shared = socket.socket(family)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((host, port))
    except OSError as exc:
        raise StartError(_cannot_listen(host, port, exc)) from exc
    with shared:
        yield shared.getsockname()[1]


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; pass another with --port, or 0 for any free one."
    advice = ""
    if error.errno == errno.EACCES:
        advice = " Ports below 1024 are for root: pass another with --port, behind a proxy."
    shown = f"[{host}]" if ":" in host else host
    return f"cannot listen on {shown}:{port}: {error.strerror or error}.{advice}"


def announce(host: str, port: int) -> None:
    """Print the service's URL as one line on standard output, and tell systemd that the service is
    ready: `systemctl start` waits for it (sd_notify(3), `Type=notify`)."""
    shown = f"[{host}]" if ":" in host else host
    print(f"listening on http://{shown}:{port}", flush=True)  # noqa: T201
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        name = f"\0{address[1:]}" if address.startswith("@") else address
        with (
            contextlib.suppress(OSError),  # it is no reason to stop
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
        ):
            systemd.sendto(b"READY=1", name)


class StoppableApp(Protocol):
    """An ASGI app that can end its requests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def end_unfinished(self) -> None:
        """End the requests whose response has not begun, before the service stops."""


async def serve_until_stopped(
    app: ASGIApp,
    host: str,
    port: int,
    listening: Callable[[], None],
    end_unfinished: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish open requests, for `GRACE_SECONDS` at most. A
    second before that, `end_unfinished` ends the remaining requests with responses."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=_IDLE_SECONDS * 1000, max_buffer_size=_HEAD_BYTES
        ),
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_max_connections(),
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    await _wait_until_listening(host, port, serving)
    _close_unread(port)
    gc.collect()
    gc.freeze()  # objects of the start stay: the collector need not examine them again and again
    listening()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait({serving}, timeout=GRACE_SECONDS - _ENDING_SECONDS)
    end_unfinished()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(serving, _ENDING_SECONDS)


def _max_connections() -> int:
    """The limit of connections. Raises the limit of open files as far as allowed; a connection
    needs two, itself and its stored file. Granian's backpressure counts idle connections too, and
    lets further ones wait."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 2 * _MAX_CONNECTIONS + _OTHER_FILES
    allowed = files if hard_limit == resource.RLIM_INFINITY else min(hard_limit, files)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard_limit))
    return max(1, (allowed - _OTHER_FILES) // 2)


def _close_unread(port: int) -> None:
    """Have the kernel close connections whose peer acknowledges or reads nothing for
    `_UNREAD_SECONDS` (tcp(7), TCP_USER_TIMEOUT). Accepted sockets inherit the option from the
    listening one. Granian has no time-out for the end of a response that is sent but unread."""
    for entry in _DESCRIPTORS.iterdir() if _DESCRIPTORS.exists() else ():
        with contextlib.suppress(OSError), socket.socket(fileno=int(entry.name)) as candidate:
            try:  # Granian does not tell which of our files is its socket
                if _listens_at(candidate, port):
                    milliseconds = _UNREAD_SECONDS * 1000
                    candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            finally:
                candidate.detach()


def _listens_at(candidate: socket.socket, port: int) -> bool:
    if candidate.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    listens = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return bool(listens) and candidate.getsockname()[1] == port


async def _wait_until_listening(host: str, port: int, serving: asyncio.Task[None]) -> None:
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.005)
            continue
        writer.close()
        return
    await serving
