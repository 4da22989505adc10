"""Uploads over bad networks, and over none: our service with our client against `@tus/server` with
`tus-js-client` (npm), and one large PATCH against nginx."""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil

import servers
from aws_local.ports import free_port
from bench_images import peak_bytes
from load import LOAD_CORES
from report import Found, Line, Skipped
from sizes import Scale, UploadsScale
from support.chaos import Weather, chaos
from support.peers import FOLDER, why_not

# Beside the other side: no worse, but for a hundredth, by which runs differ among themselves.
NO_WORSE = 1.01
USER = "bench"
_TUS = {"tus-resumable": "1.0.0", "user-id": USER}
_PIECE = {**_TUS, "content-type": "application/offset+octet-stream"}

Starting = Callable[..., AbstractContextManager[tuple[str, int]]]


@dataclass(frozen=True)
class Side:
    """A service and the client that belongs to it: `command` uploads a file to a URL."""

    name: str
    start: Starting
    command: Callable[[str, Path], list[str]]


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """All comparisons of uploads."""
    sizes, photo = scale.uploads, folder / "photo.jpg"
    # Starts like a JPEG and is none: nobody's image work is measured here.
    photo.write_bytes(b"\xff\xd8\xff\xe0" + os.urandom(sizes.size - 4))
    sides = [Side("ours", servers.ours, _our_command)]
    if why_not():
        yield Skipped(10, f"no @tus/server and tus-js-client: {why_not()}")
    else:
        sides.append(Side("tus-js", servers.tus_js, _their_command))
    yield from _over_bad_networks(folder, photo, sides, sizes)
    if len(sides) > 1:
        yield from _through_cuts(folder, photo, sizes)
    yield from _killed(folder, photo, sides, sizes)
    yield from _half_open(folder, sides, sizes)
    yield from _ingest(folder, sides, sizes)


def _our_command(url: str, file: Path) -> list[str]:
    return [sys.executable, "-m", "image_poster", "post", str(file), "--url", url, "--as", USER]


def _their_command(url: str, file: Path) -> list[str]:
    return ["node", str(FOLDER / "upload.mjs"), f"{url}/uploads", str(file), USER]


def _over_bad_networks(
    folder: Path, photo: Path, sides: list[Side], sizes: UploadsScale
) -> Iterator[Line]:
    for name, target, weathers in _storms(sizes):
        times = [_sent(folder, photo, side, weathers) for side in sides]
        yield from _compared(f"{_mb(sizes.size)}, {name}: bytes sent / size", target, times)


def _through_cuts(folder: Path, photo: Path, sizes: UploadsScale) -> Iterator[Line]:
    """The times of the two clients over the same proxy to our server. tus-js-client uses its own
    delays (0, 1, 3 and 5 s)."""
    # Both end when all bytes are there.
    mine = Side("ours", servers.ours, lambda *arguments: [*_our_command(*arguments), "--no-wait"])
    theirs = Side(
        "tus-js", servers.ours, lambda *arguments: [*_their_command(*arguments), "", "default"]
    )
    with servers.ours(folder / "cuts") as (url, _):
        for cut in sizes.mean_cuts:
            weathers = [Weather(seed, cut_after_bytes=cut) for seed in range(sizes.seeds)]
            # In turn, so that what else the machine does is there for both.
            results = [
                [_seconds(folder, photo, side, url, weather) for side in (mine, theirs)]
                for weather in weathers
            ]
            ours, other = map(statistics.mean, zip(*results, strict=True))
            label = f"{_mb(sizes.size)}, mean cut {_mb(cut)}: time / tus-js-client's"
            yield Line(label, ours / other, 1.2, "<=", f"{ours:.2f} / {other:.2f} s")


def _seconds(folder: Path, photo: Path, side: Side, url: str, weather: Weather) -> float:
    with chaos(url, weather) as proxy:
        began = time.perf_counter()
        _upload(folder, side, proxy.url, photo)
        return time.perf_counter() - began


def _storms(sizes: UploadsScale) -> Iterator[tuple[str, float, list[Weather]]]:
    """A name, the target, and a weather a seed."""
    for cut, target in zip(sizes.mean_cuts, (1.05, 1.20, 1.30), strict=True):
        weathers = [Weather(seed, cut_after_bytes=cut) for seed in range(sizes.seeds)]
        yield f"mean cut {_mb(cut)}", target, weathers
    yield f"cut every {_mb(sizes.cut)}", 1.10, [Weather(cut_after_bytes=sizes.cut, exactly=True)]


def _mb(size: int) -> str:
    return f"{size / 1e6:g} MB"


def _compared(label: str, target: float, results: list[list[float]]) -> Iterator[Line]:
    """Ours against the target, and against the other side."""
    ours = statistics.mean(results[0])
    yield Line(label, ours, target, "<=", f"{_listed(results[0])}")
    for theirs in results[1:]:
        yield Line(
            "  the same / tus-js-client's",
            ours / statistics.mean(theirs),
            NO_WORSE,
            "<=",
            f"{ours:.3f} / {statistics.mean(theirs):.3f}",
        )


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def _sent(folder: Path, photo: Path, side: Side, weathers: list[Weather]) -> list[float]:
    """Bytes sent by the client for each weather, by the file's size."""
    results, size = [], photo.stat().st_size
    with side.start(folder / f"{side.name}-storm") as (url, _):
        for weather in weathers:
            with chaos(url, weather) as proxy:
                _upload(folder, side, proxy.url, photo)
                results.append(proxy.counts.up / size)
    return results


def _upload(folder: Path, side: Side, url: str, photo: Path) -> None:
    with _begun(folder, side, url, photo) as upload:
        _finish(upload)


@contextmanager
def _begun(folder: Path, side: Side, url: str, photo: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A client at work, which does not outlive the block, however that ends."""
    with subprocess.Popen(
        side.command(url, photo),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _finish(process: "subprocess.Popen[bytes]") -> None:
    _, said = process.communicate(timeout=300)
    # Exit code 1 of ours is that the image, which is none, could not be shown (image_unreadable,
    # image_unsupported); it was taken.
    assert process.returncode == 0 or b"(image_un" in said, said


def _killed(folder: Path, photo: Path, sides: list[Side], sizes: UploadsScale) -> Iterator[Line]:
    at = sizes.killed_at
    results = [[_sent_to_killed(folder, photo, side, part) for part in at] for side in sides]
    label = f"{_mb(sizes.size)}, server killed in the middle: bytes sent / size"
    yield from _compared(label, 1.02, results)


def _sent_to_killed(folder: Path, photo: Path, side: Side, part: float) -> float:
    data, port, size = folder / f"{side.name}-killed", free_port(), photo.stat().st_size
    with (
        side.start(data, port=port) as (url, pid),
        chaos(url, Weather(bytes_per_second=20_000_000)) as proxy,
        _begun(folder, side, proxy.url, photo) as upload,
    ):
        while proxy.counts.up < part * size:
            assert upload.poll() is None, "the upload ended before its server was killed"
            time.sleep(0.005)
        psutil.Process(pid).kill()
        with side.start(data, port=port):
            _finish(upload)
        return proxy.counts.up / size


def _half_open(folder: Path, sides: list[Side], sizes: UploadsScale) -> Iterator[Line]:
    times = [_head_times(folder, side, sizes) for side in sides]
    ours = statistics.median(times[0])
    yield Line(
        "HEAD on a half-open upload / 100 ms", max(times[0]) / 100, 1, "<=", f"{ours:.1f} ms"
    )
    for theirs in times[1:]:
        median = statistics.median(theirs)
        detail = f"{ours:.1f} / {median:.1f} ms"
        yield Line("  the same / @tus/server's", ours / median, 1, "<=", detail)


def _head_times(folder: Path, side: Side, sizes: UploadsScale) -> list[float]:
    results = []
    with side.start(folder / f"{side.name}-half") as (url, _):
        for _ in range(sizes.rounds):
            path = _created(url, sizes.size)
            with _connected(url) as stalled:
                headers = {**_PIECE, "upload-offset": "0", "content-length": str(sizes.size)}
                stalled.sendall(_request(url, "PATCH", path, headers) + b"\xff\xd8\xff" * 100_000)
                time.sleep(0.3)
                began = time.perf_counter()
                offset = int(_asked(url, "HEAD", path, _TUS)["upload-offset"])
                results.append(1000 * (time.perf_counter() - began))
                assert offset > 0
    return results


def _ingest(folder: Path, sides: list[Side], sizes: UploadsScale) -> Iterator[Found]:
    """Much in one request, until the bytes are on the disk."""
    content, size = b"\xff\xd8\xff\xe0" + os.urandom(sizes.large - 4), _mb(sizes.large)
    results = [_taken_in(folder, side, content, sizes.rounds) for side in sides]
    ours, growth = results[0]
    yield Line(f"memory over idle while {size} come in / {size}", growth, 0.2, "<=", "resident")
    for theirs, _ in results[1:]:
        detail = f"{ours:.0f} / {theirs:.0f} MB/s"
        yield Line(f"{size} by one PATCH / @tus/server's", ours / theirs, 1, ">=", detail)
    if shutil.which("nginx") is None:
        yield Skipped(1, "nginx is not installed (Debian: nginx-light)")
        return
    with servers.nginx(folder / "nginx") as (url, _):
        target = folder / "nginx" / "files" / "large"
        theirs = _rate(lambda: _put_large(url, content, target), len(content), sizes.rounds)
    detail = f"{ours:.0f} / {theirs:.0f} MB/s"
    yield Line(f"{size} by one PATCH / nginx's PUT and fsync", ours / theirs, 0.5, ">=", detail)


def _taken_in(folder: Path, side: Side, content: bytes, rounds: int) -> tuple[float, float]:
    """Megabytes a second, and how much more memory than before the server took, by the size."""
    with side.start(folder / f"{side.name}-large") as (url, pid):
        _patch_large(url, content[: len(content) // 4])
        before = psutil.Process(pid).memory_info().rss
        with _Peak(pid) as peak:
            rate = _rate(lambda: _patch_large(url, content), len(content), rounds)
        # Memory comes in pages; a growth of less is not measured.
        return rate, max(peak.bytes - before, os.sysconf("SC_PAGESIZE")) / len(content)


class _Peak:
    """The most memory that a process has while the block lasts, by the kernel's own mark."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.bytes = 0

    def __enter__(self) -> Self:
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = peak_bytes(self._pid)


def _rate(once: Callable[[], float], size: int, rounds: int) -> float:
    """Megabytes a second, by the median time that `size` bytes took."""
    return size / 1e6 / statistics.median(once() for _ in range(rounds))


def _patch_large(url: str, content: bytes) -> float:
    path = _created(url, len(content))
    began = time.perf_counter()
    answer = _asked(url, "PATCH", path, {**_PIECE, "upload-offset": "0"}, content)
    assert answer["upload-offset"] == str(len(content))
    return time.perf_counter() - began


def _put_large(url: str, content: bytes, target: Path) -> float:
    began = time.perf_counter()
    _asked(url, "PUT", "/large", {}, content)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)  # nginx does not; ours has, before it answers
    os.close(descriptor)
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


def _created(url: str, size: int) -> str:
    name = b64encode(b"photo.jpg").decode()
    headers = {**_TUS, "upload-length": str(size), "upload-metadata": f"filename {name}"}
    return urlsplit(_asked(url, "POST", "/uploads", headers)["location"]).path


def _connected(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=60)


def _request(url: str, method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"host: {urlsplit(url).netloc}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def _asked(
    url: str, method: str, path: str, headers: dict[str, str], content: bytes = b""
) -> dict[str, str]:
    """The answer's headers, by a client that costs next to nothing."""
    os.sched_setaffinity(0, LOAD_CORES)
    with _connected(url) as connection:
        length = {"content-length": str(len(content))} if method != "HEAD" else {}
        connection.sendall(_request(url, method, path, {**headers, **length}))
        connection.sendall(content)
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = connection.recv(65536)
            assert part, answer
            answer += part
    status, *header_lines = answer.split(b"\r\n\r\n")[0].decode().split("\r\n")
    assert status.split()[1][0] == "2", answer
    pairs = (line.partition(": ") for line in header_lines)
    return {name.lower(): value for name, _, value in pairs}
