"""Images: processor time against vipsthumbnail, peak memory, and the feed beside uploads."""

import asyncio
import resource
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyvips

import servers
from data import entries, write_ours
from image_poster.adapters.vips.protocol import RenderSettings
from image_poster.adapters.vips.renderer import VipsImageRenderer
from image_poster.ports.images import Workspace
from load import Load, run
from report import Found, Line, Skipped
from sizes import Scale

BOTH_CORES = {0, 1}
MEMORY_TARGET_MB, P99_TARGET_MS = 150, 50
_OPTIONS = "[Q=82,interlace,optimize_coding,strip]"


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """All comparisons of image work."""
    sizes, photo = scale.images, folder / "photo.jpg"
    megapixels = f"{sizes.width * sizes.height / 1e6:g} MP"
    _make_photo(photo, sizes.width, sizes.height)
    write_ours(folder / "data", entries(1000, 10_000))
    with servers.ours(folder / "data", "--image-workers", "1", cores=BOTH_CORES) as (url, pid):
        _post_and_wait(url, photo)  # the template is up now
        (template,) = psutil.Process(pid).children()
        before = _cpu(template)
        for _ in range(sizes.runs):
            _post_and_wait(url, photo)
        ours = (_cpu(template) - before) / sizes.runs
    peak, idle = asyncio.run(peak_and_idle_bytes(photo, folder))
    if shutil.which("vipsthumbnail"):
        theirs = _vipsthumbnail(photo, folder, sizes.runs)
        yield Line(
            f"processor time, 600 and 1600 of {megapixels} / vipsthumbnail twice",
            ours / theirs,
            1,
            "<=",
            f"{ours * 1000:.0f} / {theirs * 1000:.0f} ms",
        )
    else:
        yield Skipped(1, "vipsthumbnail is not installed (Debian: libvips-tools)")
    over = (peak - idle) / 1e6
    yield Line(
        f"peak memory over idle for {megapixels} / {MEMORY_TARGET_MB} MB",
        over / MEMORY_TARGET_MB,
        1,
        "<=",
        f"{over:.0f} MB over {idle / 1e6:.0f} MB",
    )
    yield _feed_beside_uploads(folder, photo, scale, megapixels)


def _feed_beside_uploads(folder: Path, photo: Path, scale: Scale, megapixels: str) -> Line:
    stop = threading.Event()
    with servers.ours(folder / "data", cores=BOTH_CORES) as (url, _):
        uploads: list[int] = []

        def upload() -> None:
            while not stop.is_set():
                _post_and_wait(url, photo)
                uploads.append(1)

        clients = [threading.Thread(target=upload) for _ in range(2)]
        for client in clients:
            client.start()
        seconds, before = scale.images.feed_seconds, scale.warm_up_seconds
        outcome = run(Load(url, ["/posts"], seconds, before, 8, per_second=100, cores=[0, 1]))
        stop.set()
        for client in clients:
            client.join()
    return Line(
        f"feed p99 at 100/s beside 2 uploaders of {megapixels} / {P99_TARGET_MS} ms",
        outcome.p99 / P99_TARGET_MS,
        1,
        "<=",
        f"p50 {outcome.p50:.1f}, p99 {outcome.p99:.1f} ms, {len(uploads)} images meanwhile",
    )


def _make_photo(path: Path, width: int, height: int) -> None:
    """Pixels with the coarse and fine structure, and the noise, of a photograph."""
    coarse = pyvips.Image.perlin(width, height, cell_size=200, uchar=True, seed=1)
    fine = pyvips.Image.perlin(width, height, cell_size=60, uchar=True, seed=2)
    noise = pyvips.Image.gaussnoise(width, height, sigma=8, mean=0, seed=3)
    image = coarse.bandjoin([fine, coarse * 0.5 + fine * 0.5]) + noise
    image.cast("uchar").copy(interpretation="srgb").jpegsave(str(path), Q=90)


def _post_and_wait(url: str, photo: Path) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="p"\r\n\r\n'
    body = head + photo.read_bytes() + b"\r\n--b--\r\n"
    headers = {"user-id": "bench", "content-type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{url}/posts", body, headers)
    with urllib.request.urlopen(request) as answer:
        location = answer.headers["location"]
    waiting = urllib.request.Request(f"{url}{location}?wait=20", headers={"user-id": "bench"})
    with urllib.request.urlopen(waiting) as answer:
        assert b'"status":"ready"' in answer.read()


def _cpu(process: psutil.Process) -> float:
    """Of the template and the children that it has reaped: one for each image that is done."""
    times = process.cpu_times()
    return float(sum(times[:4]))


async def peak_and_idle_bytes(original: Path, folder: Path) -> tuple[int, int]:
    """The most memory that an image's process had, and what the template has, which shares it."""
    before = set(psutil.Process().children())  # a benchmark before this one left a helper, perhaps
    renderer = VipsImageRenderer(RenderSettings(), timeout_seconds=120)
    await renderer.render(Workspace(original, folder))
    (template,) = set(psutil.Process().children()) - before
    idle = template.memory_info().rss
    await renderer.close()
    return renderer.peak_bytes, idle


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmHWM")


def _vipsthumbnail(photo: Path, folder: Path, runs: int) -> float:
    """Seconds of processor time for the same two files, one thread as ours."""
    commands = [
        ["--size", "600x600", "--smartcrop", "centre", "-o", f"{folder}/a.jpg{_OPTIONS}"],
        ["--size", "1600x1600>", "-o", f"{folder}/b.jpg{_OPTIONS}"],
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(runs):
        for flags in commands:
            subprocess.run(
                ["vipsthumbnail", str(photo), *flags], check=True, env={"VIPS_CONCURRENCY": "1"}
            )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / runs
