"""A small closed-loop load generator: as many requests as the connections can make, one after the
other on each, and how long each took. Runs as a process of its own, pinned to its own core."""

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import cycle
from urllib.parse import urlsplit

SERVER_CORES, LOAD_CORES = {0}, {1}


@dataclass
class Load:
    """The requests of a load: `paths` in turn, `per_second` of them (0: as fast as possible), by
    `user` (empty: anonymous).
    Answers to requests of the first `warm_up_seconds` do not count."""

    url: str
    paths: list[str]
    seconds: float
    warm_up_seconds: float
    connections: int = 16
    method: str = "GET"
    body: str = ""
    per_second: int = 0
    cores: list[int] | None = None
    accept_encoding: str = "identity"
    user: str = "bench"


@dataclass
class Outcome:
    """Answers a second, and times in milliseconds."""

    per_second: float
    p50: float
    p99: float
    p999: float
    errors: int


def run(load: Load) -> Outcome:
    """Put `load` on a server, from another process."""
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(asdict(load))],
        check=True,
        capture_output=True,
        text=True,
    )
    return Outcome(**json.loads(done.stdout))


class _Connection:
    """One request at a time over one kept-alive connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = b""
        self.began = 0.0

    def ask(self, request: bytes) -> None:
        self.began = time.perf_counter()
        self.received = b""
        self.socket.send(request)

    def answered(self) -> bool:
        """Take what has come; whether that completes the answer."""
        self.received += self.socket.recv(262_144)
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator:
            return False
        at = head.lower().find(b"content-length: ")
        length = int(head[at + 16 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        return len(body) >= length


def _requests(load: Load, host: str) -> list[bytes]:
    body = load.body.encode()
    extra = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
    extra += f"accept-encoding: {load.accept_encoding}\r\n"
    extra += f"user-id: {load.user}\r\n" if load.user else ""
    return [
        (f"{load.method} {path} HTTP/1.1\r\nhost: {host}\r\n{extra}\r\n").encode() + body
        for path in load.paths
    ]


def _drive(load: Load) -> Outcome:
    address = urlsplit(load.url)
    requests = cycle(_requests(load, address.netloc))
    selector = selectors.DefaultSelector()
    pause = load.connections / load.per_second if load.per_second else 0.0
    started = time.perf_counter()
    measured = started + load.warm_up_seconds
    waiting: list[tuple[float, _Connection]] = []
    for index in range(load.connections):
        connection = _Connection((str(address.hostname), int(address.port or 80)))
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        waiting.append((started + pause * index / load.connections, connection))
    times: list[float] = []
    errors = 0
    while (now := time.perf_counter()) < measured + load.seconds:
        for due, connection in [entry for entry in waiting if entry[0] <= now]:
            waiting.remove((due, connection))
            connection.ask(next(requests))
        for key, _ in selector.select(0.001 if waiting else 0.1):
            connection = key.data
            if not connection.answered():
                continue
            now = time.perf_counter()
            if connection.began >= measured:
                times.append(now - connection.began)
                errors += connection.received[9:10] != b"2"
            if pause:
                waiting.append((max(now, connection.began + pause), connection))
            else:
                connection.ask(next(requests))
    times.sort()
    return Outcome(
        per_second=len(times) / load.seconds,
        p50=1000 * times[len(times) // 2],
        p99=1000 * times[int(len(times) * 0.99)],
        p999=1000 * times[int(len(times) * 0.999)],
        errors=errors,
    )


if __name__ == "__main__":
    LOAD = Load(**json.loads(sys.argv[1]))
    os.sched_setaffinity(0, LOAD.cores or LOAD_CORES)
    print(json.dumps(asdict(_drive(LOAD))))
