"""The memory of an image is known before it is decoded, and all decoders share one budget."""

import asyncio
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import pyvips

from image_poster.adapters.images.header import Admission, DecodeEstimate
from image_poster.adapters.images.memory import MemoryBudget, default_budget_bytes
from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.domain.images import (
    MAX_SIDE,
    ImageFormat,
    ImageRejectedError,
    ImageWorkFailedError,
    certain_pixels,
    max_decoder_bytes,
)
from image_poster.ports.images import Workspace
from support import samples
from support.attacks import fork_servers
from support.hostile_files import HOSTILE_FILES
from support.rendered import render

SLOT = 16_000_000
GIGABYTES_2 = 2_000_000_000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"use_uvloop": True})


def png_of(width: int, height: int) -> bytes:
    """A PNG of rows of zeros, as small as its makers could get it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    row = bytes(width + 1)
    packed = b"".join(rows.compress(row * 1000) for _ in range(height // 1000)) + rows.flush()
    chunks = (header, b"IDAT" + packed, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


def refused(content: bytes) -> ImageRejectedError:
    with pytest.raises(ImageRejectedError) as raised:
        render(content)
    return raised.value


def test_no_side_is_longer_than_a_jpeg_can_have() -> None:
    """Such an image took 14 s and more of a worker's time, from 9.8 kB."""
    error = refused(png_of(1, 5_000_000))
    assert error.code == "image_too_large"
    assert "the limit of a side is 65,500" in error.detail
    assert render(png_of(1, 65_000)).large.size == (1, 1600) != (1, MAX_SIDE)


def with_scans(count: int, side: int) -> bytes:
    """A progressive JPEG that claims to have so many scans, of so large an image."""
    content = samples.encoded(samples.corners(), progressive=True)
    frame = content.index(b"\xff\xc2") + 5
    content = content[:frame] + struct.pack(">HH", side, side) + content[frame + 4 :]
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + content[-2:]


def test_a_jpeg_of_hundreds_of_scans_is_refused_before_they_are_decoded() -> None:
    error = refused(with_scans(60, 9000))
    assert error.code == "image_too_large"
    assert "scans" in error.detail
    usual = samples.encoded(samples.corners(80, 80), progressive=True)
    assert render(usual).large.size == (80, 80)


def declared(content: bytes, folder: Path, memory_bytes: int = GIGABYTES_2) -> list[int]:
    """The bytes of memory that an image asks for before it is decoded."""
    from image_poster.adapters.images.decoders import decode

    grants: list[int] = []
    path = folder / "original"
    path.write_bytes(content)
    with path.open("rb") as file:
        decode(file.fileno(), Admission(100_000_000, memory_bytes, grants.append))
    return grants


def photo(width: int, height: int) -> pyvips.Image:
    grey = pyvips.Image.perlin(width, height, cell_size=64, uchar=True, seed=1)
    return grey.bandjoin([grey, grey]).copy(interpretation="srgb")


def deep(width: int, height: int) -> pyvips.Image:
    pixels = (photo(width, height).cast("ushort") * 257).bandjoin(65_535).cast("ushort")
    return pixels.copy(interpretation="rgb16")


HUNGRY: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: photo(4000, 3000).jpegsave_buffer(),
    "progressive jpeg": lambda: photo(4000, 3000).jpegsave_buffer(interlace=True, Q=95),
    "wide jpeg": lambda: photo(30_000, 300).jpegsave_buffer(),
    "png": lambda: photo(3000, 2000).pngsave_buffer(compression=1),
    "interlaced png": lambda: deep(2000, 1500).pngsave_buffer(compression=1, interlace=True),
    "wide png": lambda: deep(20_000, 300).pngsave_buffer(compression=1),
    "webp": lambda: photo(3000, 2000).webpsave_buffer(effort=0, lossless=True),
    "gif": lambda: photo(3000, 2000).gifsave_buffer(effort=1, dither=0),
    "bmp": lambda: samples.bitmap(3000, 2000),
    "bmp with a palette": lambda: samples.encoded(samples.corners(3000, 2000).convert("P"), "BMP"),
    "avif": lambda: photo(3000, 2000).heifsave_buffer(compression="av1", effort=0),
    "deep avif": lambda: deep(2000, 1500).heifsave_buffer(
        compression="av1", effort=0, bitdepth=10, subsample_mode="off"
    ),
    "heic": lambda: samples.heic(2000, 1500),
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", HUNGRY)
async def test_no_image_takes_more_memory_than_it_has_declared(kind: str, tmp_path: Path) -> None:
    content = bytes(HUNGRY[kind]())
    renderer = VipsImageRenderer(RenderSettings())
    (tmp_path / "original").write_bytes(samples.jpeg())
    await renderer.render(Workspace(tmp_path / "original", tmp_path))
    idle = fork_servers()[0].memory_info().rss
    (tmp_path / "original").write_bytes(content)
    await renderer.render(Workspace(tmp_path / "original", tmp_path))
    await renderer.close()
    (needs,) = declared(content, tmp_path)
    assert renderer.peak_bytes - idle <= needs


def test_an_avif_of_a_hundred_megapixels_fits_into_800_megabytes(tmp_path: Path) -> None:
    """Its header decides, so a small one that says it is large will do."""
    small = bytes(photo(64, 64).heifsave_buffer(compression="av1", effort=0))
    large = small.replace(struct.pack(">II", 64, 64), struct.pack(">II", 10_000, 10_000))
    (needs,) = declared(large, tmp_path)
    assert 750_000_000 < needs <= max_decoder_bytes(ImageFormat.AVIF, GIGABYTES_2) == 800_000_000


def test_what_would_never_fit_is_refused_with_a_sentence(tmp_path: Path) -> None:
    content = bytes(photo(4000, 3000).jpegsave_buffer(interlace=True, Q=95))
    with pytest.raises(ImageRejectedError, match="of memory; the limit is 50 MB") as raised:
        declared(content, tmp_path, memory_bytes=50_000_000)
    assert raised.value.code == "image_too_large"


@pytest.mark.parametrize("image_format", list(ImageFormat))
@pytest.mark.parametrize("memory_bytes", [256_000_000, 700_000_000, GIGABYTES_2])
def test_what_is_certain_by_the_limits_fits_however_it_is_coded(
    image_format: ImageFormat, memory_bytes: int
) -> None:
    pixels = certain_pixels(image_format, 100_000_000, memory_bytes)
    pixel_bytes = {"JPEG": 8, "PNG": 8, "BMP": 11, "WEBP": 10, "GIF": 10, "HEIC": 24, "AVIF": 29}
    side = int(pixels**0.5)
    shape = DecodeEstimate(side, side, 8, pixel_bytes[image_format.name], 100_000_000)
    assert not pixels or shape.needed_bytes <= max_decoder_bytes(image_format, memory_bytes)


def test_the_default_is_a_third_of_the_machine_and_at_most_two_gigabytes() -> None:
    third = psutil.virtual_memory().total // 3
    assert 0 < default_budget_bytes() <= min(third, GIGABYTES_2)


class MemoryUsage:
    """The used part of a budget, and its highest value."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget, self.now, self.most = budget, 0, 0
        self.order: list[str] = []

    async def take(self, name: str, needs: int, until: asyncio.Event) -> None:
        async with self.budget.acquire(needs):
            self.order.append(name)
            self.now += needs
            self.most = max(self.most, self.now)
            await until.wait()
            self.now -= needs


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_an_image_waits_until_what_it_needs_is_free_and_none_overtakes_it() -> None:
    grants = MemoryUsage(MemoryBudget(10 * SLOT))
    first, rest = asyncio.Event(), asyncio.Event()
    rest.set()
    tasks = [asyncio.create_task(grants.take("first", 6 * SLOT, first))]
    await settled()
    for name, needs in (("large", 10 * SLOT), ("small", SLOT)):
        tasks.append(asyncio.create_task(grants.take(name, needs, rest)))
        await settled()
    assert grants.order == ["first"]
    first.set()
    await asyncio.gather(*tasks)
    assert grants.order == ["first", "large", "small"]
    assert grants.most <= 10 * SLOT
    grants.budget.close()


@pytest.mark.anyio
async def test_who_gives_up_waiting_leaves_everything_to_the_others() -> None:
    grants = MemoryUsage(MemoryBudget(4 * SLOT))
    first, rest = asyncio.Event(), asyncio.Event()
    rest.set()
    having = asyncio.create_task(grants.take("first", 2 * SLOT, first))
    await settled()
    waiting = asyncio.create_task(grants.take("large", 4 * SLOT, rest))
    await settled()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await grants.take("other", 2 * SLOT, rest)
    first.set()
    await having
    assert grants.order == ["first", "other"]
    grants.budget.close()


HOLDER = """
import asyncio, sys
from pathlib import Path
from image_poster.adapters.images.memory import MemoryBudget
async def main():
    async with MemoryBudget(int(sys.argv[2]), Path(sys.argv[1])).acquire(int(sys.argv[3])):
        print("had", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""


@pytest.mark.anyio
@pytest.mark.parametrize("ended", ["by itself", "killed"])
async def test_workers_share_one_memory_and_one_that_ends_gives_back_what_it_had(
    tmp_path: Path, ended: str
) -> None:
    path = tmp_path / "memory"
    command = [sys.executable, "-c", HOLDER, str(path), str(4 * SLOT), str(3 * SLOT)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(  # noqa: ASYNC220 - it is waited for below
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"had\n"
        grants = MemoryUsage(MemoryBudget(4 * SLOT, path))
        done = asyncio.Event()
        done.set()
        await grants.take("small", SLOT, done)
        large = asyncio.create_task(grants.take("large", 2 * SLOT, done))
        await settled()
        assert not large.done()
        other.kill() if ended == "killed" else other.stdin.close()
        await large
    assert grants.order == ["small", "large"]


@pytest.mark.anyio
async def test_time_stands_still_for_an_image_that_waits_for_memory(tmp_path: Path) -> None:
    budget = MemoryBudget(400_000_000)
    renderer = VipsImageRenderer(RenderSettings(), memory=budget, timeout_seconds=20)
    (tmp_path / "original").write_bytes(samples.jpeg())
    async with budget.acquire(budget.total_bytes):
        running = asyncio.create_task(renderer.render(Workspace(tmp_path / "original", tmp_path)))
        async with asyncio.timeout(60):
            while renderer.confinement is None:  # it has asked for memory
                await asyncio.sleep(0.01)
        await settled()
        assert not running.done()
    assert (await running).small.width == 600
    await renderer.close()


@pytest.mark.anyio
async def test_memory_that_never_comes_free_is_our_fault(tmp_path: Path) -> None:
    budget = MemoryBudget(400_000_000)
    renderer = VipsImageRenderer(RenderSettings(), memory=budget, timeout_seconds=5)
    (tmp_path / "original").write_bytes(samples.jpeg())
    async with budget.acquire(budget.total_bytes):
        with pytest.raises(ImageWorkFailedError, match="waited too long"):
            await renderer.render(Workspace(tmp_path / "original", tmp_path))
    await renderer.close()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", HOSTILE_FILES)
async def test_no_header_takes_the_time_of_an_image(kind: str, tmp_path: Path) -> None:
    """Work on a header is linear in its bytes: none takes the 20 s that an image may take."""
    renderer = VipsImageRenderer(RenderSettings(), timeout_seconds=20)
    (tmp_path / "original").write_bytes(HOSTILE_FILES[kind]())
    try:
        with pytest.raises(ImageRejectedError) as refused:
            await renderer.render(Workspace(tmp_path / "original", tmp_path))
        assert refused.value.code in ("image_unreadable", "image_unsupported", "image_too_large")
    finally:
        await renderer.close()
