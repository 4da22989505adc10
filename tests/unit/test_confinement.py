"""Code in place of a decoder reaches nothing: no file, no network, no process, no more memory, disk
or time than an image has. Each attack runs for real, in the process that would decode."""

import asyncio
import os
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError
from image_poster.ports.images import Workspace
from support import samples
from support.attacks import fork_servers, order

pytestmark = pytest.mark.anyio

A_CREDENTIAL = "AWS_SECRET_ACCESS_KEY"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"use_uvloop": True})


class Attacked:
    """A server's folder and renderer, whose decoders do what an image tells them."""

    def __init__(self, folder: Path, module: str) -> None:
        self.folder = folder
        self.renderer = VipsImageRenderer(
            RenderSettings(memory_bytes=500_000_000), children=2, module=module
        )

    async def outcome(self, attack: str, argument: object = "") -> str:
        """The outcome that a child reports."""
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        (work / "original").write_bytes(order(attack, argument))
        with pytest.raises(ImageWorkFailedError) as raised:
            await self.renderer.render(Workspace(work / "original", work))
        return str(raised.value)


WHOLE, WITHOUT_LANDLOCK, WITHOUT_SECCOMP = (
    "support.hostile",
    "support.hostile_without_landlock",
    "support.hostile_without_seccomp",
)


@pytest.fixture(params=[WHOLE])
async def attacked(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Attacked]:
    monkeypatch.setenv(A_CREDENTIAL, "of the server")
    attack = Attacked(tmp_path, request.param)
    yield attack
    await attack.renderer.close()


either_wall = pytest.mark.parametrize(
    "attacked", [WHOLE, WITHOUT_LANDLOCK, WITHOUT_SECCOMP], indirect=True
)


@either_wall
async def test_the_database_and_other_originals_cannot_be_read(attacked: Attacked) -> None:
    database, original = attacked.folder / "image-poster.db", attacked.folder / "other original"
    sqlite3.connect(database).execute("CREATE TABLE posts (id)").connection.close()
    original.write_bytes(samples.jpeg())
    for path in (database, original, attacked.folder / "work" / "original"):
        assert (await attacked.outcome("read", path)).startswith("failed: PermissionError")
        assert (await attacked.outcome("read", f"/proc/self/root{path}")).startswith("failed")
    assert (await attacked.outcome("list", attacked.folder)).startswith("failed")


@either_wall
async def test_nothing_can_be_created_or_removed(attacked: Attacked) -> None:
    new, old = attacked.folder / "work" / "new", attacked.folder / "old"
    old.touch()
    assert (await attacked.outcome("create", new)).startswith("failed: PermissionError")
    assert (await attacked.outcome("remove", old)).startswith("failed: PermissionError")
    assert (await attacked.outcome("write the original")).startswith("failed: OSError")
    assert old.exists()
    assert not new.exists()


@either_wall
async def test_the_environment_of_the_server_cannot_be_read(attacked: Attacked) -> None:
    for pid in (os.getpid(), os.getppid(), 1, "self"):
        said = await attacked.outcome("read", f"/proc/{pid}/environ")
        assert said.startswith("failed: PermissionError")
    has = await attacked.outcome("environment")
    assert has.startswith("DONE")
    assert A_CREDENTIAL not in has
    assert {"HOME", "PATH", A_CREDENTIAL} <= os.environ.keys()


@either_wall
async def test_no_program_of_this_machine_can_be_executed(attacked: Attacked) -> None:
    assert (await attacked.outcome("execute", sys.executable)).startswith("failed: Permission")


@either_wall
async def test_no_server_can_be_reached(attacked: Attacked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert (await attacked.outcome("connect", f"127.0.0.1:{port}")).startswith("failed")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_no_socket_can_be_made(attacked: Attacked) -> None:
    path = attacked.folder / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert (await attacked.outcome("connect unix", path)).startswith("failed: Permission")


@either_wall
async def test_no_descriptor_but_its_own_is_open(attacked: Attacked) -> None:
    with (attacked.folder / "open").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        assert await attacked.outcome("other descriptors") == "DONE: []"


@pytest.mark.parametrize("attack", ["fork", "bomb", "make code", "trace parent", "signal parent"])
async def test_no_process_can_be_started_traced_or_signalled_and_no_code_made(
    attacked: Attacked, attack: str
) -> None:
    assert (await attacked.outcome(attack)).startswith("failed: PermissionError")


async def test_the_server_can_neither_be_traced_nor_signalled(attacked: Attacked) -> None:
    for attack in ("trace", "signal"):
        said = await attacked.outcome(attack, os.getpid())
        assert said.startswith("failed: PermissionError")


@either_wall
async def test_a_gigabyte_is_neither_written_nor_taken(attacked: Attacked) -> None:
    assert (await attacked.outcome("write a gigabyte")).startswith("failed: OSError(27")
    assert (attacked.folder / "work" / "1600.jpg").stat().st_size <= 32_000_000
    assert (await attacked.outcome("take memory")).startswith("failed: MemoryError")


async def test_processor_time_is_bounded_by_the_kernel(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is stopped, say, keeps no time. The kernel's count is of seconds of work, which
    may take long on a machine that has other work to do."""
    brief = RenderSettings(cpu_seconds=1)
    monkeypatch.setattr(attacked.renderer, "_settings", brief)
    monkeypatch.setattr(attacked.renderer, "_timeout_seconds", 3600)
    work = attacked.folder / "work"
    work.mkdir()
    (work / "original").write_bytes(order("spin"))
    with pytest.raises(ImageRejectedError) as refused:
        await attacked.renderer.render(Workspace(work / "original", work))
    assert refused.value.code == "image_too_slow"


@pytest.mark.parametrize(
    ("attack", "argument"),
    [
        ("flood", ""),
        ("long line", ""),
        ("nonsense", "]"),
        ("nonsense", '{"needs": "all"}'),
        ("lie", "601 LEHV6nWB2yk8pyo0adR*"),
        ("lie", "-1 LEHV6nWB2yk8pyo0adR*"),
        ("lie", "600 <script>alert(1)</script>"),
        ("lie", f"600 {'L' * 200}"),
        ("lie about the reason", "post_not_found"),
    ],
)
async def test_the_server_believes_nothing_without_a_look(
    attacked: Attacked, attack: str, argument: str
) -> None:
    await attacked.outcome(attack, argument)  # an `ImageWorkFailedError`, and soon


async def test_a_reason_is_not_longer_than_a_reader_wants(attacked: Attacked) -> None:
    work = attacked.folder / "work"
    work.mkdir()
    (work / "original").write_bytes(order("lie about the reason", "image_unreadable"))
    with pytest.raises(ImageRejectedError) as rejected:
        await attacked.renderer.render(Workspace(work / "original", work))
    assert len(rejected.value.detail) == 500


async def test_the_server_goes_on_while_it_is_attacked(attacked: Attacked, tmp_path: Path) -> None:
    """Good images beside a bomb, a hog and a flood, one after the other."""
    good = VipsImageRenderer(RenderSettings())
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "original").write_bytes(samples.jpeg())

    async def attack() -> None:
        for attack_name in (
            "bomb",
            "take memory",
            "write a gigabyte",
            "flood",
            "other descriptors",
        ):
            await attacked.outcome(attack_name)

    attacks = asyncio.create_task(attack())
    rendered = 0
    while not attacks.done():
        await good.render(Workspace(tmp_path / "good" / "original", tmp_path / "good"))
        rendered += 1
    await attacks
    assert rendered > 1
    await good.close()
    await attacked.renderer.close()
    assert fork_servers() == []


@pytest.mark.parametrize(
    ("attacked", "lacking"),
    [(WHOLE, None), (WITHOUT_LANDLOCK, "Landlock"), (WITHOUT_SECCOMP, "seccomp")],
    indirect=["attacked"],
)
async def test_what_is_in_force_is_told(attacked: Attacked, lacking: str | None) -> None:
    await attacked.outcome("exit", "1")
    confinement = attacked.renderer.confinement
    assert confinement is not None
    assert confinement.no_new_privs
    assert confinement.seccomp == (lacking != "seccomp") == confinement.is_complete
    assert (confinement.landlock > 0) == (lacking != "Landlock")
    told, _, of_the_kernel = str(confinement).partition("; this kernel lacks ")
    assert (lacking or "another") not in told
    assert of_the_kernel == (lacking or "")
