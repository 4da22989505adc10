"""An open-loop load: requests are sent when they are due, whether or not earlier ones have been
answered. Each latency is counted from the time at which the request was due. So a stalled server is
charged for all requests of that time; a closed loop hides them (coordinated omission)."""

import math
import os
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import NamedTuple
from urllib.parse import urlsplit

from load import LOAD_CORES

_MAX_CONNECTIONS = 512
# After the last was due; what is not answered by then never was.
_PATIENCE_SECONDS = 2.0


class Kind(NamedTuple):
    """A kind of request with its `share`: one of `requests` is drawn each time."""

    share: float
    requests: Sequence[bytes]


@dataclass(frozen=True)
class Mix:
    """Kinds of requests and the server, `per_second` in the mean (Poisson), and the seconds.
    Answers to requests that were due in the first `warm_up_seconds` do not count."""

    url: str
    kinds: Sequence[Kind]
    per_second: float
    seconds: float
    warm_up_seconds: float
    seed: int = 1


class MixOutcome(NamedTuple):
    """Times in milliseconds from when a request was due; infinite if not answered. `late` are those
    that were not, `errors` the answers that are not 2xx."""

    requests: int
    p50: float
    p99: float
    late: int
    errors: int


def run_mix(mix: Mix) -> MixOutcome:
    """Put it on a server, from another process on its own core."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_drive, (mix,))


class _Due(NamedTuple):
    at: float
    request: bytes


@dataclass
class _Connection:
    address: tuple[str, int]
    at: float = 0.0
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(self.address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def ask(self, due: _Due) -> None:
        self.at, self.unsent, self.received = due.at, memoryview(due.request), bytearray()
        self.send()

    def send(self) -> None:
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return

    def take(self) -> None:
        """Raises `ConnectionError` at its end."""
        chunk = self.socket.recv(262_144)
        if not chunk:
            raise ConnectionResetError
        self.received += chunk

    @property
    def answered(self) -> bool:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self.received[:end]).lower()
        at = head.find(b"content-length: ")
        length = int(head[at + 16 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        return len(self.received) >= end + 4 + length

    @property
    def succeeded(self) -> bool:
        return self.received[9:10] == b"2"


class _Driver:
    def __init__(self, mix: Mix) -> None:
        self._mix = mix
        url = urlsplit(mix.url)
        self._address = (str(url.hostname), int(url.port or 80))
        self._selector = selectors.DefaultSelector()
        self._free: list[_Connection] = []
        self._connections = 0
        self._waiting: deque[_Due] = deque()
        self.times: list[float] = []
        self.errors = 0

    def go(self, plan: Sequence[_Due]) -> int:
        """Send the requests and return the number of those that count."""
        began, place = time.perf_counter(), 0
        end = self._mix.warm_up_seconds + self._mix.seconds
        while (now := time.perf_counter() - began) < end + _PATIENCE_SECONDS:
            while place < len(plan) and plan[place].at <= now:
                self._waiting.append(plan[place])
                place += 1
            self._ask()
            if place == len(plan) and not self._waiting and len(self._free) == self._connections:
                break
            rest = plan[place].at - now if place < len(plan) else 0.05
            for key, events in self._selector.select(max(0.0, rest - 0.0015)):
                self._serve(key.data, events, began)
        return sum(due.at >= self._mix.warm_up_seconds for due in plan)

    def _ask(self) -> None:
        while self._waiting and (self._free or self._connections < _MAX_CONNECTIONS):
            connection = self._free.pop() if self._free else self._connect()
            try:
                connection.ask(self._waiting[0])
            except ConnectionError:
                self._drop(connection)  # closed while nobody used it: the next one takes it
                continue
            self._waiting.popleft()
            self._watch(connection)

    def _connect(self) -> _Connection:
        connection = _Connection(self._address)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._connections += 1
        return connection

    def _watch(self, connection: _Connection) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)

    def _drop(self, connection: _Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._connections -= 1

    def _serve(self, connection: _Connection, events: int, began: float) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                connection.send()
                self._watch(connection)
            if events & selectors.EVENT_READ:
                connection.take()
        except ConnectionError:
            if connection in self._free:
                self._free.remove(connection)
            self._drop(connection)
            return
        if connection.answered:
            self._note(connection, time.perf_counter() - began)
            self._free.append(connection)

    def _note(self, connection: _Connection, now: float) -> None:
        if connection.at >= self._mix.warm_up_seconds:
            self.times.append(now - connection.at)
            self.errors += not connection.succeeded


def _plan(mix: Mix) -> list[_Due]:
    chance, at, due = random.Random(mix.seed), 0.0, list[_Due]()
    shares = [kind.share for kind in mix.kinds]
    while (at := at + chance.expovariate(mix.per_second)) < mix.warm_up_seconds + mix.seconds:
        [kind] = chance.choices(mix.kinds, shares)
        due.append(_Due(at, chance.choice(kind.requests)))
    return due


def _drive(mix: Mix) -> MixOutcome:
    os.sched_setaffinity(0, LOAD_CORES)
    driver, plan = _Driver(mix), _plan(mix)
    requests = driver.go(plan)
    late = requests - len(driver.times)
    times = [*sorted(driver.times), *[math.inf] * late]
    if not times:
        raise ValueError("nothing was asked for: too short a time for this rate")
    p50, p99 = (1000 * times[int(len(times) * part)] for part in (0.5, 0.99))
    return MixOutcome(requests, p50, p99, late, driver.errors)
