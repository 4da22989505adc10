"""An image that crashes, hangs or confuses its process costs itself and nobody else."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest

from image_poster.adapters.vips import renderer as module
from image_poster.adapters.vips.pipeline import RenderSettings
from image_poster.adapters.vips.renderer import VipsImageRenderer
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError
from image_poster.ports.images import Workspace
from support import samples

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """On the loop of the server too: each tells of a broken pipe in its own way."""
    return ("asyncio", {"use_uvloop": request.param})


@pytest.fixture
async def renderer() -> AsyncIterator[VipsImageRenderer]:
    made = VipsImageRenderer(RenderSettings(max_pixels=1_000_000), children=2)
    yield made
    await made.close()


def work_on(folder: Path, content: bytes) -> Workspace:
    original = folder / "original"
    original.write_bytes(content)
    return Workspace(original, folder)


async def test_images_are_rendered_one_after_the_other_by_one_process(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    for _ in range(3):
        rendered = await renderer.render(work_on(tmp_path, samples.jpeg()))
        assert rendered.small.width == 600
    assert len(renderer._idle) == 1


async def test_a_rejected_image_says_why_and_its_process_goes_on(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    with pytest.raises(ImageRejectedError) as refused:
        await renderer.render(work_on(tmp_path, samples.bomb()))
    assert refused.value.code == "image_too_large"
    await renderer.render(work_on(tmp_path, samples.jpeg()))
    assert len(renderer._idle) == 1


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_an_idle_process_that_was_killed_is_noticed_at_once(
    renderer: VipsImageRenderer, tmp_path: Path, signal_number: int
) -> None:
    """Whether the loop has heard of its end or not: the image goes on with a new process."""
    for _ in range(3):
        await renderer.render(work_on(tmp_path, samples.jpeg()))
        killed = renderer._idle[0]
        os.kill(killed.pid, signal_number)
        assert (await renderer.render(work_on(tmp_path, samples.jpeg()))).small.width == 600
        assert killed not in renderer._idle
        os.kill(renderer._idle[0].pid, signal_number)
        await renderer._idle[0].wait()
        assert (await renderer.render(work_on(tmp_path, samples.jpeg()))).small.width == 600


async def test_all_idle_processes_that_were_killed_are_noticed(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    await asyncio.gather(
        *(renderer.render(work_on(tmp_path / name, samples.jpeg())) for name in ("one", "other"))
    )
    assert len(renderer._idle) == 2
    for child in renderer._idle:
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    assert (await renderer.render(work_on(tmp_path, samples.jpeg()))).small.width == 600
    assert len(renderer._idle) == 1


async def test_a_image_whose_process_was_killed_at_work_goes_on_at_once(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "original")
    running = asyncio.create_task(renderer.render(Workspace(tmp_path / "original", tmp_path)))
    with await opened_by_a_child(tmp_path / "original"):
        await kill_children()
    with await opened_by_a_child(tmp_path / "original") as pipe:
        pipe.write(b"no image" * 10)
    with pytest.raises(ImageRejectedError):
        await running


async def test_a_image_that_ends_its_process_each_time_is_told(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "original")
    running = asyncio.create_task(renderer.render(Workspace(tmp_path / "original", tmp_path)))
    for _ in range(2):
        with await opened_by_a_child(tmp_path / "original"):
            await kill_children()
    with pytest.raises(ImageWorkFailedError, match="ended with code -9"):
        await running
    assert renderer._idle == []


async def opened_by_a_child(pipe: Path) -> BinaryIO:
    """The end to write to of a named pipe, once a child has opened the other: it is at work."""
    return await asyncio.to_thread(pipe.open, "wb")


async def kill_children() -> None:
    """Kill them and wait until they are dead; their parent reaps them itself."""
    for child in psutil.Process().children():
        child.kill()
        while is_running(child.pid):
            await asyncio.sleep(0.001)


async def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    hasty = VipsImageRenderer(RenderSettings(), timeout_seconds=0.5)
    os.mkfifo(tmp_path / "original")  # reading it never ends
    with pytest.raises(ImageWorkFailedError, match="within"):
        await hasty.render(Workspace(tmp_path / "original", tmp_path))
    assert hasty._idle == []
    await hasty.close()


async def test_a_bad_image_does_not_block_the_others(tmp_path: Path) -> None:
    two = VipsImageRenderer(RenderSettings(), children=2, timeout_seconds=30)
    for name in ("stuck", "good"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "stuck" / "original")
    stuck = asyncio.create_task(
        two.render(Workspace(tmp_path / "stuck" / "original", tmp_path / "stuck"))
    )
    await two.render(work_on(tmp_path / "good", samples.jpeg()))
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


def test_the_renderer_asks_for_one_thread_a_image() -> None:
    assert module._ENVIRONMENT == {"VIPS_CONCURRENCY": "1"}
