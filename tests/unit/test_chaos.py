"""The bad network does what it says."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from support.chaos import Weather, chaos


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except OSError:
            pass


@pytest.fixture
def echo() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def connected(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=60)


def said_back(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    received = b""
    while len(received) < len(data) and (part := connection.recv(65536)):
        received += part
    return received


def test_a_good_network_passes_everything_and_counts_it(echo: str) -> None:
    data = bytes(range(256)) * 1000
    with chaos(echo, Weather()) as proxy, connected(proxy.url) as connection:
        thread = threading.Thread(target=connection.sendall, args=(data,))
        thread.start()
        received = b""
        while len(received) < len(data):
            received += connection.recv(65536)
        thread.join()
        assert received == data
    assert (proxy.counts.up, proxy.counts.down) == (len(data), len(data))
    assert (proxy.counts.connections, proxy.counts.cuts) == (1, 0)


def test_a_reset_comes_after_so_many_bytes(echo: str) -> None:
    weather = Weather(cut_after_bytes=1000, exactly=True)
    with chaos(echo, weather) as proxy, connected(proxy.url) as connection:
        assert said_back(connection, b"x" * 600) == b"x" * 600
        with pytest.raises(ConnectionError):
            while said_back(connection, b"y" * 600):
                pass
    assert proxy.counts.cuts == 1


def test_a_fin_is_an_orderly_end(echo: str) -> None:
    weather = Weather(cut_after_bytes=1000, exactly=True, ways=("fin",))
    with chaos(echo, weather) as proxy, connected(proxy.url) as connection:
        connection.sendall(b"x" * 1000)
        received = b""
        while part := connection.recv(65536):
            received += part
        assert len(received) <= 1000


def test_a_black_hole_is_silent(echo: str) -> None:
    weather = Weather(cut_after_bytes=10, exactly=True, ways=("blackhole",))
    with chaos(echo, weather) as proxy, connected(proxy.url) as connection:
        connection.sendall(b"x" * 5)
        assert connection.recv(10) == b"x" * 5
        connection.settimeout(0.3)
        connection.sendall(b"x" * 20)
        with pytest.raises(TimeoutError):
            while connection.recv(10):
                pass


def test_a_cut_may_come_by_the_clock(echo: str) -> None:
    weather = Weather(cut_after_seconds=0.05)
    with chaos(echo, weather) as proxy, connected(proxy.url) as connection:
        with pytest.raises(ConnectionError):
            connection.recv(1)
        assert proxy.counts.cuts == 1


def test_latency_and_rate_are_felt(echo: str) -> None:
    with (
        chaos(echo, Weather(latency=0.1, bytes_per_second=100_000)) as proxy,
        connected(proxy.url) as connection,
    ):
        began = time.monotonic()
        assert said_back(connection, b"x" * 10_000) == b"x" * 10_000
        assert time.monotonic() - began >= 0.2 + 0.1


def test_a_lost_answer_had_its_request_delivered(echo: str) -> None:
    with chaos(echo, Weather(lost_answers=1.0)) as proxy, connected(proxy.url) as connection:
        connection.sendall(b"x")
        with pytest.raises(ConnectionError):
            connection.recv(1)
    assert proxy.counts.lost_answers == proxy.counts.cuts == 1
    assert (proxy.counts.up, proxy.counts.down) == (1, 0)


def test_what_waits_in_the_dark_goes_on_afterwards(echo: str) -> None:
    with chaos(echo, Weather()) as proxy, connected(proxy.url) as connection:
        assert said_back(connection, b"x") == b"x"
        proxy.go_dark(1.5)
        connection.settimeout(0.1)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            while time.monotonic() - began < 60:
                said_back(connection, b"y")
        connection.settimeout(60)
        assert connection.recv(1) == b"y"


def test_the_same_seed_cuts_after_the_same_bytes(echo: str) -> None:
    def cut_after(seed: int) -> int:
        weather = Weather(seed, cut_after_bytes=50_000, ways=("fin",))
        with chaos(echo, weather) as proxy, connected(proxy.url) as connection:
            received = 0
            try:
                while part := said_back(connection, b"x" * 100):
                    received += len(part)
            except ConnectionError:
                pass
            return received // 100

    assert abs(cut_after(1) - cut_after(1)) <= 1
    assert abs(cut_after(1) - cut_after(2)) > 1


def test_without_a_service_behind_it_connections_are_reset() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            chaos(url, Weather()) as proxy,
            pytest.raises(ConnectionError),  # by the time we are connected, or a moment later
            connected(proxy.url) as connection,
        ):
            connection.recv(1)
