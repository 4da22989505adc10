"""Clients that hold connections and do nothing with them."""

import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from support.servers import local_server, running

IDLE = 4_300


@pytest.fixture
def many_files() -> Iterator[None]:
    """The near end of so many connections; the server sees to its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE + 200
    if hard != resource.RLIM_INFINITY and hard < 2 * needed:
        pytest.skip(f"this machine allows a process {hard} files; {2 * needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_open(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1, socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True


@pytest.mark.usefixtures("many_files")
def test_thousands_of_idle_connections_do_not_keep_the_next_one_waiting(tmp_path: Path) -> None:
    with local_server(tmp_path) as server, ExitStack() as stack:
        host, _, port = server.url.removeprefix("http://").partition(":")
        idle = [
            stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(IDLE)
        ]
        assert httpx.get(f"{server.url}/healthz", timeout=20).status_code == 200
        # Not one of them had to be closed for that.
        assert all(map(is_open, idle))


_SERVER = """
import socket, uvloop
from pathlib import Path
from image_poster.editions.local.server import announce, reserve_port, serve_until_stopped

def time_outs(client_port):
    for entry in Path("/proc/self/fd").iterdir():
        try:
            connection = socket.socket(fileno=int(entry.name))
        except OSError:
            continue
        try:
            if connection.getpeername()[1] == client_port:
                yield connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        except (OSError, IndexError):
            pass
        connection.detach()

async def app(scope, receive, send):
    found = repr(list(time_outs(int(scope["client"][1])))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": found, "more_body": False})

with reserve_port("127.0.0.1", 0) as port:
    say = lambda: announce("127.0.0.1", port)
    uvloop.run(serve_until_stopped(app, "127.0.0.1", port, say))
"""


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_the_kernel_closes_what_nobody_reads() -> None:
    """The end of an answer is with the kernel before it is read: accepted sockets have its
    time-out."""
    with running((sys.executable, "-c", _SERVER)) as server:
        assert httpx.get(server.url).text == "[30000]"
