"""Images: processor time against vipsthumbnail, peak memory, and the feed beside uploads."""

import asyncio
import resource
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import psutil
import pyvips

import servers
from data import entries, write_ours
from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.ports.images import Workspace
from load import Load, run
from report import Found, Line, Skipped
from sizes import Scale
from support import samples
from support.attacks import order

BOTH_CORES = {0, 1}
MEMORY_TARGET_MB, P99_TARGET_MS = 150, 50
CHILD_TARGET_MS, TEMPLATE_TARGET_MS = 5, 300
_OPTIONS = "[Q=82,interlace,optimize_coding,strip]"


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """All comparisons of image work."""
    sizes, photo = scale.images, folder / "photo.jpg"
    megapixels = f"{sizes.width * sizes.height / 1e6:g} MP"
    make_photo(photo, sizes.width, sizes.height)
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
            0.5,
            "<=",
            f"{ours * 1000:.0f} / {theirs * 1000:.0f} ms",
        )
        yield _phone_images_a_minute(folder, scale)
    else:
        yield Skipped(2, "vipsthumbnail is not installed (Debian: libvips-tools)")
    yield from asyncio.run(_processes(folder, sizes.children))
    yield asyncio.run(_hash(folder, scale))
    over = (peak - idle) / 1e6
    yield Line(
        f"peak memory over idle for {megapixels} / {MEMORY_TARGET_MB} MB",
        over / MEMORY_TARGET_MB,
        1,
        "<=",
        f"{over:.0f} MB over {idle / 1e6:.0f} MB",
    )
    yield _feed_beside_uploads(folder, photo, scale, megapixels)


async def _processes(folder: Path, children: int) -> list[Line]:
    """The cost of an image's process without the image. It has two parts: the template's start, and
    a child's fork, confinement, answer and end."""
    original, starts = folder / "order", []
    original.write_bytes(order("lie", "600 LEHV6nWB2yk8pyo0adR*"))
    work = Workspace(original, folder)
    for _ in range(3):
        renderer = VipsImageRenderer(RenderSettings())
        (folder / "tiny").write_bytes(samples.jpeg(16, 16))
        tiny = Workspace(folder / "tiny", folder)
        first = await _timed(renderer, tiny)
        starts.append(first - await _timed(renderer, tiny))
        await renderer.close()
    before = set(psutil.Process().children())
    renderer = VipsImageRenderer(RenderSettings(), module="support.hostile_with_decoders")
    await renderer.render(work)
    (template,) = set(psutil.Process().children()) - before
    spent = _cpu(template)
    seconds = [await _timed(renderer, work) for _ in range(children)]
    child = (_cpu(template) - spent) / children * 1000
    await renderer.close()
    start = median(starts) * 1000
    return [
        Line(
            f"processor time, fork to end of an empty image / {CHILD_TARGET_MS} ms",
            child / CHILD_TARGET_MS,
            1,
            "<=",
            f"{child:.1f} ms; {median(seconds) * 1000:.1f} ms by the clock",
        ),
        Line(
            f"start of the template process / {TEMPLATE_TARGET_MS} ms",
            start / TEMPLATE_TARGET_MS,
            1,
            "<=",
            f"{start:.0f} ms, median of 3",
        ),
    ]


async def _hash(folder: Path, scale: Scale) -> Line:
    """The processor time of a phone's image in its child, with its perceptual hash and without."""
    photo, sizes = folder / "hashed.jpg", scale.images
    width, height = sizes.phone_width, sizes.phone_height
    make_photo(photo, width, height)
    work = Workspace(photo, folder)
    renderers = [
        VipsImageRenderer(RenderSettings()),
        VipsImageRenderer(RenderSettings(), module="without_hash"),
    ]
    forks = [await _started(renderer, work) for renderer in renderers]
    before = [_cpu(fork) for fork in forks]
    for _ in range(sizes.hashes):
        for renderer in renderers:
            await renderer.render(work)
    after = [_cpu(fork) for fork in forks]
    for renderer in renderers:
        await renderer.close()
    with_it, without = (
        (end - start) / sizes.hashes * 1000 for start, end in zip(before, after, strict=True)
    )
    return Line(
        f"processor time, {width * height / 1e6:g} MP with its hash / without",
        with_it / without,
        None,
        "<=",
        f"{with_it:.1f} / {without:.1f} ms; the hash {with_it - without:.1f} ms",
    )


async def _started(renderer: VipsImageRenderer, work: Workspace) -> psutil.Process:
    """The fork server of a renderer that has rendered an image."""
    before = set(psutil.Process().children())
    await renderer.render(work)
    (fork,) = set(psutil.Process().children()) - before
    return fork


async def _timed(renderer: VipsImageRenderer, work: Workspace) -> float:
    began = time.perf_counter()
    await renderer.render(work)
    return time.perf_counter() - began


def _phone_images_a_minute(folder: Path, scale: Scale) -> Line:
    """Posted by two clients to a server of two decoders, against two loops of `vipsthumbnail`."""
    photo, sizes = folder / "phone.jpg", scale.images
    width, height = sizes.phone_width, sizes.phone_height
    make_photo(photo, width, height)
    with servers.ours(folder / "phone", cores=BOTH_CORES) as (url, _):
        _post_and_wait(url, photo)
        ours = _a_minute(lambda _: _post_and_wait(url, photo), sizes.phone_images)
    theirs = _a_minute(lambda at: _thumbnails(photo, folder, str(at)), sizes.phone_images)
    return Line(
        f"JPEG of {width * height / 1e6:g} MP a minute on two cores / vipsthumbnail",
        ours / theirs,
        1,
        ">=",
        f"{ours:.0f} / {theirs:.0f} a minute, both files",
    )


def _a_minute(step: Callable[[int], object], count: int) -> float:
    """The number of times a minute that two threads finish a step."""
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as two:
        list(two.map(step, range(count)))
    return count * 60 / (time.perf_counter() - began)


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


def make_photo(path: Path, width: int, height: int, quality: int = 90) -> None:
    """Pixels with the coarse and fine structure, and the noise, of a photograph."""
    coarse = pyvips.Image.perlin(width, height, cell_size=200, uchar=True, seed=1)
    fine = pyvips.Image.perlin(width, height, cell_size=60, uchar=True, seed=2)
    noise = pyvips.Image.gaussnoise(width, height, sigma=8, mean=0, seed=3)
    image = coarse.bandjoin([fine, coarse * 0.5 + fine * 0.5]) + noise
    image.cast("uchar").copy(interpretation="srgb").jpegsave(str(path), Q=quality)


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
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(runs):
        _thumbnails(photo, folder, "")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / runs


def _thumbnails(photo: Path, folder: Path, name: str) -> None:
    """Both files by two commands."""
    commands = [
        ["--size", "600x600", "--smartcrop", "centre", "-o", f"{folder}/a{name}.jpg{_OPTIONS}"],
        ["--size", "1600x1600>", "-o", f"{folder}/b{name}.jpg{_OPTIONS}"],
    ]
    for flags in commands:
        subprocess.run(
            ["vipsthumbnail", str(photo), *flags], check=True, env={"VIPS_CONCURRENCY": "1"}
        )
