"""An image that crashes, hangs or confuses its process costs itself and nobody else."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError
from image_poster.ports.images import Workspace
from support import flawed, samples
from support.attacks import fork_servers, is_running, order

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """On the loop of the server too: each tells of a broken pipe in its own way."""
    return ("asyncio", {"use_uvloop": request.param})


@pytest.fixture
async def renderer() -> AsyncIterator[VipsImageRenderer]:
    renderer = VipsImageRenderer(RenderSettings(max_pixels=1_000_000), children=2)
    yield renderer
    await renderer.close()


@pytest.fixture
async def attacked() -> AsyncIterator[VipsImageRenderer]:
    """A renderer whose decoders do what the image tells them to do."""
    renderer = VipsImageRenderer(
        RenderSettings(), children=2, timeout_seconds=30, module="support.hostile"
    )
    yield renderer
    await renderer.close()


def work_on(folder: Path, content: bytes) -> Workspace:
    folder.mkdir(exist_ok=True)
    original = folder / "original"
    original.write_bytes(content)
    return Workspace(original, folder)


async def a_child_at_work() -> psutil.Process:
    """The one child of the one fork server, once it is there."""
    async with asyncio.timeout(60):
        while True:
            if children := [
                child for fork_server in fork_servers() for child in fork_server.children()
            ]:
                return children[0]
            await asyncio.sleep(0.005)


async def gone(pid: int) -> None:
    async with asyncio.timeout(60):
        while is_running(pid):
            await asyncio.sleep(0.005)


async def test_each_image_has_a_process_of_its_own_and_one_fork_server_starts_them(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    for _ in range(3):
        rendered = await renderer.render(work_on(tmp_path, samples.jpeg()))
        assert rendered.small.width == 600
        (fork_server,) = fork_servers()
        assert fork_server.children() == []
        assert fork_server.num_threads() == 1


async def test_a_rejected_image_says_why_and_the_next_is_rendered(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    with pytest.raises(ImageRejectedError) as refused:
        await renderer.render(work_on(tmp_path, samples.bomb()))
    assert refused.value.code == "image_too_large"
    await renderer.render(work_on(tmp_path, samples.jpeg()))
    assert len(fork_servers()) == 1


async def test_an_image_that_its_decoder_refuses_is_rebuilt_in_a_process_of_its_own(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    content = flawed.pngs(samples.encoded(samples.corners(), "PNG"))["wrong adler32"]
    rendered = await renderer.render(work_on(tmp_path, content))
    assert (rendered.large.width, rendered.large.height) == (120, 80)
    for damaged in (content[:-300], samples.jpeg()[:-300], b"GIF89a" + bytes(20)):
        with pytest.raises(ImageRejectedError) as refused:
            await renderer.render(work_on(tmp_path, damaged))
        assert refused.value.code == "image_unreadable"
    (fork_server,) = fork_servers()
    assert fork_server.children() == []


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_an_idle_fork_server_that_was_killed_is_noticed_at_once(
    renderer: VipsImageRenderer, tmp_path: Path, signal_number: int
) -> None:
    """The image goes on with a new fork server, also if the loop has not noticed the end of the old
    one."""
    for waits in (False, True, False):
        await renderer.render(work_on(tmp_path, samples.jpeg()))
        (killed,) = fork_servers()
        killed.send_signal(signal_number)
        if waits:
            await gone(killed.pid)
        assert (await renderer.render(work_on(tmp_path, samples.jpeg()))).small.width == 600
        assert killed not in fork_servers()


async def test_a_stopped_fork_server_that_is_killed_later_is_noticed(
    renderer: VipsImageRenderer, tmp_path: Path
) -> None:
    """It dies with the request in its hands, and nobody has begun with the image."""
    await renderer.render(work_on(tmp_path, samples.jpeg()))
    (fork_server,) = fork_servers()
    fork_server.suspend()
    running = asyncio.create_task(renderer.render(work_on(tmp_path, samples.jpeg())))
    await asyncio.sleep(0)
    fork_server.kill()
    assert (await running).small.width == 600


@pytest.mark.parametrize("whom", ["the child", "the fork server"])
async def test_an_image_whose_process_was_killed_at_work_goes_on_at_once(
    attacked: VipsImageRenderer, tmp_path: Path, whom: str
) -> None:
    work = work_on(tmp_path, order("hang"))
    running = asyncio.create_task(attacked.render(work))
    child = await a_child_at_work()
    work.original.write_bytes(order("lie about the reason", "image_unreadable"))
    with suppress(psutil.NoSuchProcess):  # it may have begun so late that it read the second order
        (child if whom == "the child" else fork_servers()[0]).kill()
    with pytest.raises(ImageRejectedError):
        await running
    await gone(child.pid)


@pytest.mark.parametrize(("how", "code"), [("segv", -signal.SIGSEGV), ("abort", -signal.SIGABRT)])
async def test_an_image_that_crashes_its_process_each_time_is_told(
    attacked: VipsImageRenderer, tmp_path: Path, how: str, code: int
) -> None:
    with pytest.raises(ImageWorkFailedError, match=f"ended with code {code}"):
        await attacked.render(work_on(tmp_path, order("crash", how)))
    assert len(fork_servers()) == 1


@pytest.mark.parametrize("attack", ["hang", "begin with nothing"])
async def test_a_process_that_hangs_is_ended(tmp_path: Path, attack: str) -> None:
    """And is not tried again: what takes too long once would take it from everybody else again."""
    hasty = VipsImageRenderer(RenderSettings(), timeout_seconds=0.5, module="support.hostile")
    with pytest.raises(ImageRejectedError, match=r"longer than 0\.5 s") as refused:
        await hasty.render(work_on(tmp_path, order(attack)))
    assert refused.value.code == "image_too_slow"
    (fork_server,) = fork_servers()
    assert fork_server.children() == []
    await hasty.close()


async def test_all_processes_of_an_image_share_its_time(tmp_path: Path) -> None:
    """Or one that is rebuilt would have twice the time, and the job's lease would run out."""
    strict = VipsImageRenderer(RenderSettings(), timeout_seconds=1.5, module="support.hostile")
    with pytest.raises(ImageRejectedError) as refused:
        await strict.render(work_on(tmp_path, order("reject late", "1")))
    assert refused.value.code == "image_too_slow"
    await strict.close()


async def test_a_bad_image_does_not_block_the_others(
    attacked: VipsImageRenderer, tmp_path: Path
) -> None:
    stuck = asyncio.create_task(attacked.render(work_on(tmp_path / "stuck", order("hang"))))
    child = await a_child_at_work()
    with pytest.raises(ImageWorkFailedError, match="ended with code 7"):
        await attacked.render(work_on(tmp_path / "other", order("exit", "7")))
    assert not stuck.done()
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    assert not is_running(child.pid)


async def test_closing_ends_what_is_at_work(attacked: VipsImageRenderer, tmp_path: Path) -> None:
    running = asyncio.create_task(attacked.render(work_on(tmp_path, order("hang"))))
    child = await a_child_at_work()
    running.cancel()
    await attacked.close()
    assert not is_running(child.pid)
    assert fork_servers() == []


PARENT = """
import asyncio, sys
from pathlib import Path
from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.ports.images import Workspace
async def main():
    renderer = VipsImageRenderer(RenderSettings(), module="support.hostile")
    folder = Path(sys.argv[1])
    await renderer.render(Workspace(folder / "original", folder))
asyncio.run(main())
"""


async def test_no_process_outlives_the_server(tmp_path: Path) -> None:
    """Killed as by the OOM killer, in the middle of an image."""
    work_on(tmp_path, order("hang"))
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = psutil.Popen([sys.executable, "-c", PARENT, str(tmp_path)], env=environment)
    async with asyncio.timeout(60):
        while len(family := parent.children(recursive=True)) < 2:
            await asyncio.sleep(0.005)
    parent.kill()
    parent.wait()
    for process in family:
        await gone(process.pid)


async def test_a_module_in_the_folder_where_the_server_was_started_is_none_of_ours(
    renderer: VipsImageRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyvips.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert (await renderer.render(work_on(tmp_path / "work", samples.jpeg()))).small.width == 600


async def test_a_process_that_cannot_be_started_is_our_fault(tmp_path: Path) -> None:
    renderer = VipsImageRenderer(RenderSettings(), module="support.no_such_module")
    with pytest.raises(ImageWorkFailedError, match="no process"):
        await renderer.render(work_on(tmp_path, samples.jpeg()))
    await renderer.close()
