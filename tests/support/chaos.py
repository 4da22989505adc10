"""A bad network on loopback: a TCP proxy that cuts, stalls, delays and loses, the same way for the
same seed.

For our tests and benchmarks, and for people who develop a client of their own against this service:
`python tests/support/chaos.py --help`, and docs/chaos-proxy.md.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Way = Literal["rst", "fin", "blackhole"]

_CHUNK_BYTES = 16 * 1024
# How many chunks may be under way on a link with latency.
_IN_FLIGHT = 64


@dataclass(frozen=True)
class Weather:
    """The faults of a network; the default has none.

    Bytes are counted from the client to the service; times are seconds; means are of exponential
    distributions, drawn anew for each connection.
    """

    seed: int = 0
    cut_after_bytes: float | None = None
    exactly: bool = False
    cut_after_seconds: float | None = None
    ways: tuple[Way, ...] = ("rst",)
    latency: float = 0.0
    bytes_per_second: int | None = None
    lost_answers: float = 0.0


@dataclass
class Counts:
    """The bytes that went through: `up` from the client, `down` to it."""

    connections: int = 0
    up: int = 0
    down: int = 0
    cuts: int = 0
    lost_answers: int = 0


class _Link:
    """One connection through the proxy."""

    def __init__(
        self,
        weather: Weather,
        rng: random.Random,
        client: asyncio.StreamWriter,
        service: asyncio.StreamWriter,
    ) -> None:
        self.way = rng.choice(weather.ways)
        self.left = _drawn(rng, weather.cut_after_bytes, exactly=weather.exactly)
        self.seconds = _drawn(rng, weather.cut_after_seconds)
        self.client = client
        self.service = service
        self.over = asyncio.Event()
        for writer in (client, service):
            # What is handed over is on its way, not in a buffer of ours that a cut would lose.
            writer.transport.set_write_buffer_limits(0)

    def cut(self) -> None:
        """End it in its way. A black hole just passes nothing on, for ever."""
        self.over.set()
        if self.way == "blackhole":
            return
        for writer in (self.client, self.service):
            if self.way == "rst":
                _reset(writer)
            else:
                writer.close()


class ChaosProxy:
    """Passes connections on to `target` (an URL), in `weather`."""

    def __init__(self, target: str, weather: Weather) -> None:
        address = urlsplit(target)
        self._target = (str(address.hostname), int(address.port or 80))
        self._weather = weather
        self._rng = random.Random(weather.seed)
        self._light = asyncio.Event()
        self._light.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.counts = Counts()
        self.url = ""

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; `url` then says where."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", port, limit=_CHUNK_BYTES
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def go_dark(self, seconds: float) -> None:
        """Pass nothing on for so long; connections stay open, and go on after it."""
        self._light.clear()
        await asyncio.sleep(seconds)
        self._light.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.counts.connections += 1
        try:
            await self._light.wait()
            service_reader, service = await asyncio.open_connection(
                *self._target, limit=_CHUNK_BYTES
            )
        except OSError:
            _reset(writer)  # as a network without the service would
            return
        except asyncio.CancelledError:
            writer.close()
            return
        link = _Link(self._weather, self._rng, writer, service)
        try:
            await self._carry(link, reader, service_reader)
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()
            service.close()
            self._tasks.discard(task)

    async def _carry(
        self, link: _Link, reader: asyncio.StreamReader, service_reader: asyncio.StreamReader
    ) -> None:
        pumps = [
            asyncio.create_task(self._pump(link, reader, link.service, up=True)),
            asyncio.create_task(self._pump(link, service_reader, link.client, up=False)),
            asyncio.create_task(self._cut_in_time(link)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _cut_in_time(self, link: _Link) -> None:
        if link.seconds is None:
            await asyncio.Event().wait()
        await asyncio.sleep(link.seconds or 0)
        self._cut(link)

    async def _pump(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        up: bool,
    ) -> None:
        """Bytes of one direction, `latency` late, at `bytes_per_second`; nothing is read ahead of
        what is under way."""
        latency = self._weather.latency
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        now = asyncio.get_running_loop().time

        async def deliver() -> None:
            while (arriving := await under_way.get())[1]:
                await asyncio.sleep(arriving[0] - now())
                await self._hand_over(link, writer, arriving[1], up=up)

        late = asyncio.create_task(deliver())
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                self.counts.up += len(chunk) if up else 0
                rate = self._weather.bytes_per_second
                await asyncio.sleep(len(chunk) / rate if rate else 0)
                if latency:
                    await under_way.put((now() + latency, chunk))
                else:
                    await self._hand_over(link, writer, chunk, up=up)
            await under_way.put((now(), b""))
            await late
        except OSError:
            pass
        finally:
            late.cancel()

    async def _hand_over(
        self, link: _Link, writer: asyncio.StreamWriter, chunk: bytes, *, up: bool
    ) -> None:
        await self._light.wait()
        if link.over.is_set():
            await asyncio.Event().wait()  # in a black hole; else the connection is gone already
        if up and link.left is not None:
            passed, link.left = chunk[: int(link.left)], link.left - len(chunk)
        elif not up and self._rng.random() < self._weather.lost_answers:
            self.counts.lost_answers += 1
            self._cut(link)
            return
        else:
            passed = chunk
        writer.write(passed)
        await writer.drain()
        if not up:
            self.counts.down += len(passed)
        if link.left is not None and link.left <= 0:
            self._cut(link)

    def _cut(self, link: _Link) -> None:
        if not link.over.is_set():
            self.counts.cuts += 1
            link.cut()


def _drawn(rng: random.Random, mean: float | None, *, exactly: bool = False) -> float | None:
    if mean is None:
        return None
    return mean if exactly else rng.expovariate(1 / mean)


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST (RFC 9293 section 3.5.3), which closing without lingering sends: socket(7)."""
    transport_socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class RunningProxy:
    """A proxy in a thread of its own, for code that is not asynchronous."""

    proxy: ChaosProxy
    loop: asyncio.AbstractEventLoop = field(repr=False)

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def counts(self) -> Counts:
        return self.proxy.counts

    def change_weather(self, weather: Weather) -> None:
        """From now on: at once for the rate, else for the connections that are opened from now on.
        A test can so be slow until something was seen, whatever the machine's speed."""
        self.proxy._weather = weather

    def go_dark(self, seconds: float) -> None:
        """From now on, for so long; does not wait for the end of it."""
        asyncio.run_coroutine_threadsafe(self.proxy.go_dark(seconds), self.loop)


@contextmanager
def chaos(target: str, weather: Weather) -> Iterator[RunningProxy]:
    """A proxy to `target` for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def started() -> ChaosProxy:
        proxy = ChaosProxy(target, weather)
        await proxy.start()
        return proxy

    async def stopped(proxy: ChaosProxy) -> None:
        await proxy.stop()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    proxy = asyncio.run_coroutine_threadsafe(started(), loop).result(60)
    try:
        yield RunningProxy(proxy, loop)
    finally:
        asyncio.run_coroutine_threadsafe(stopped(proxy), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A bad network in front of a service.")
    parser.add_argument("target", help="the service, such as http://127.0.0.1:8080")
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0 picks a free one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cut-after-bytes", type=float, help="mean, from client to service")
    parser.add_argument("--exactly", action="store_true", help="after just that many, each time")
    parser.add_argument("--cut-after-seconds", type=float, help="mean")
    parser.add_argument("--ways", default="rst", help="of rst, fin and blackhole, with commas")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds, each way")
    parser.add_argument("--bytes-per-second", type=int)
    parser.add_argument("--lost-answers", type=float, default=0.0, help="of 1")
    parser.add_argument(
        "--dark", action="append", default=[], metavar="AT:SECONDS", help="pass nothing on"
    )
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    options = vars(arguments)
    target, port, dark = options.pop("target"), options.pop("port"), options.pop("dark")
    options["ways"] = tuple(options["ways"].split(","))
    proxy = ChaosProxy(target, Weather(**options))
    await proxy.start(port)
    print(f"listening on {proxy.url}", flush=True)  # noqa: T201 - it is a command
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    nights = [asyncio.create_task(_night(proxy, entry)) for entry in dark]
    await ended.wait()
    for night in nights:
        night.cancel()
    await proxy.stop()
    print(json.dumps(asdict(proxy.counts)), flush=True)  # noqa: T201


async def _night(proxy: ChaosProxy, entry: str) -> None:
    at, _, seconds = entry.partition(":")
    await asyncio.sleep(float(at))
    await proxy.go_dark(float(seconds))


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
