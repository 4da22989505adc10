"""A picture that crashes, hangs or confuses its process costs itself and nobody else."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from image_poster.adapters.vips import renderer as module
from image_poster.adapters.vips.pipeline import RenderSettings
from image_poster.adapters.vips.renderer import VipsImageRenderer
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError
from image_poster.ports.picture_store import Workspace
from support import pictures

pytestmark = pytest.mark.anyio


@pytest.fixture
async def renderer() -> AsyncIterator[VipsImageRenderer]:
    made = VipsImageRenderer(RenderSettings(max_pixels=1_000_000), children=2)
    yield made
    await made.close()


def work_on(folder: Path, content: bytes) -> Workspace:
    original = folder / "original"
    original.write_bytes(content)
    return Workspace(original, folder)


async def test_pictures_are_rendered_one_after_the_other_by_one_process(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    for _ in range(3):
        rendered = await renderer.render(work_on(tmp_path, pictures.jpeg()))
        assert rendered.small.width == 600
    assert len(renderer._idle) == 1


async def test_a_rejected_picture_says_why_and_its_process_goes_on(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    with pytest.raises(ImageRejectedError) as refused:
        await renderer.render(work_on(tmp_path, pictures.bomb()))
    assert refused.value.code == "image_too_large"
    await renderer.render(work_on(tmp_path, pictures.jpeg()))
    assert len(renderer._idle) == 1


async def test_a_process_that_dies_is_our_fault_and_is_replaced(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    await renderer.render(work_on(tmp_path, pictures.jpeg()))
    os.kill(renderer._idle[0].pid, signal.SIGSEGV)
    with pytest.raises(ImageWorkFailedError):
        await renderer.render(work_on(tmp_path, pictures.jpeg()))
    assert renderer._idle == []
    assert (await renderer.render(work_on(tmp_path, pictures.jpeg()))).small.width == 600


async def test_a_process_that_dies_at_work_is_told(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    await renderer.render(work_on(tmp_path, pictures.jpeg()))
    child = renderer._idle[0]
    os.kill(child.pid, signal.SIGSTOP)
    running = asyncio.create_task(renderer.render(work_on(tmp_path, pictures.jpeg())))
    await asyncio.sleep(0)
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ImageWorkFailedError):
        await running


async def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    hasty = VipsImageRenderer(RenderSettings(), timeout_seconds=0.5)
    os.mkfifo(tmp_path / "original")  # reading it never ends
    with pytest.raises(ImageWorkFailedError, match="within"):
        await hasty.render(Workspace(tmp_path / "original", tmp_path))
    assert hasty._idle == []
    await hasty.close()


async def test_a_bad_picture_does_not_block_the_others(tmp_path: Path) -> None:
    two = VipsImageRenderer(RenderSettings(), children=2, timeout_seconds=30)
    for name in ("stuck", "good"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "stuck" / "original")
    stuck = asyncio.create_task(
        two.render(Workspace(tmp_path / "stuck" / "original", tmp_path / "stuck"))
    )
    await two.render(work_on(tmp_path / "good", pictures.jpeg()))
    assert not stuck.done()
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    await two.close()


async def test_no_process_outlives_its_parent() -> None:
    """A child whose parent is killed ends by itself, since its input ends."""
    script = (
        "import asyncio, sys\n"
        "from image_poster.adapters.vips.renderer import _start\n"
        "async def main():\n"
        "    child = await _start()\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(10):
        while is_running(child):
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_renderer_asks_for_one_thread_a_picture() -> None:
    assert module._ENVIRONMENT == {"VIPS_CONCURRENCY": "1"}
