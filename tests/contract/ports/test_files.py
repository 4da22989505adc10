"""The file adapters keep the ports' contracts, and a few promises of their own."""

import errno
import time
from pathlib import Path

import pytest

from contract.ports import suite
from image_poster.adapters.files.durable import disk_errors
from image_poster.adapters.files.layout import Layout
from image_poster.adapters.files.picture_store import FilePictureStore
from image_poster.adapters.files.upload_store import FileUploadStore
from image_poster.domain.errors import StorageFullError
from image_poster.domain.ids import new_id
from image_poster.tus.errors import UploadTakenOverError


@pytest.fixture
def pictures(tmp_path: Path) -> FilePictureStore:
    return FilePictureStore(Layout(tmp_path))


@pytest.fixture
def clock_ms() -> int:
    return time.time_ns() // 1_000_000 + 60_000


@pytest.fixture
def uploads(tmp_path: Path) -> FileUploadStore:
    return FileUploadStore(Layout(tmp_path))


class TestPictureStore(suite.ServedPictureStoreSuite):
    pass


class TestUploadStore(suite.UploadStoreSuite):
    pass


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.anyio
async def test_half_an_upload_and_half_a_job_are_dropped(
    pictures: FilePictureStore, tmp_path: Path, clock_ms: int
) -> None:
    staged = pictures.stage(new_id())
    await staged.write(bytes(2_000_000))
    (tmp_path / "spool" / "job").mkdir()
    (tmp_path / "spool" / "job" / "600.jpg").write_bytes(b"x")
    assert len(files_below(tmp_path)) == 2
    assert [post_id async for post_id in pictures.leftovers(clock_ms)] == []
    assert files_below(tmp_path) == []
    await staged.discard()


@pytest.mark.anyio
async def test_removing_leaves_no_file(pictures: FilePictureStore, tmp_path: Path) -> None:
    post_id = await suite.PictureStoreSuite().published(pictures)
    assert len(files_below(tmp_path)) == 3
    await pictures.remove(post_id)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_such(number: int) -> None:
    with pytest.raises(StorageFullError), disk_errors():
        raise OSError(number, "full")


def test_other_errors_of_the_disk_stay_what_they_are() -> None:
    with pytest.raises(OSError, match="broken"), disk_errors():
        raise OSError(errno.EIO, "broken")


@pytest.mark.anyio
async def test_another_process_takes_over_too(tmp_path: Path) -> None:
    """Two stores on one folder are what two processes have."""
    post_id = new_id()
    here, there = FileUploadStore(Layout(tmp_path)), FileUploadStore(Layout(tmp_path))
    writer = await here.take(post_id)
    await writer.write(b"kept")
    assert await there.offset(post_id) == 4
    with pytest.raises(UploadTakenOverError):
        await writer.write(b"never written")
    await writer.close()
    assert await there.offset(post_id) == 4


@pytest.mark.anyio
async def test_a_crash_drops_what_was_not_verified(tmp_path: Path) -> None:
    post_id = new_id()
    before = FileUploadStore(Layout(tmp_path))
    writer = await before.take(post_id)
    await writer.write(b"kept")
    await writer.close()
    unverified = await before.take(post_id, unverified=True)
    await unverified.write(b"and then a crash")
    assert await FileUploadStore(Layout(tmp_path)).offset(post_id) == 4
