"""The file adapters keep the ports' contracts, and a few promises of their own."""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.ports import suite, withholding
from image_poster.adapters.files import uploads as file_uploads
from image_poster.adapters.files.filesystem import disk_errors
from image_poster.adapters.files.images import FileImageStore
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.files.uploads import FileUploadStore
from image_poster.domain.errors import StorageFullError, UploadTakenOverError
from image_poster.domain.ids import new_id


@pytest.fixture
def images(tmp_path: Path) -> FileImageStore:
    return FileImageStore(Layout(tmp_path))


@pytest.fixture
def clock_ms() -> int:
    return time.time_ns() // 1_000_000 + 60_000


@pytest.fixture
def uploads(tmp_path: Path) -> FileUploadStore:
    return FileUploadStore(Layout(tmp_path))


class TestImageStore(suite.ServedImageStoreSuite, withholding.WithheldRenditionsSuite):
    async def is_public(self, images: Any, post_id: str, name: str) -> bool:
        root: Path = images._layout._root
        return (root / "renditions" / post_id[-2:] / f"{post_id}.{name}.jpg").exists()


class TestUploadStore(suite.UploadStoreSuite):
    pass


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.anyio
async def test_half_an_upload_and_half_a_job_are_dropped(
    images: FileImageStore, tmp_path: Path, clock_ms: int
) -> None:
    staged = images.stage(new_id())
    await staged.write(bytes(2_000_000))
    job = tmp_path / "spool" / f"{new_id()}.abcd_123"
    job.mkdir()
    (job / "600.jpg").write_bytes(b"x")
    assert len(files_below(tmp_path)) == 2
    assert [post_id async for post_id in images.leftovers(clock_ms)] == []
    assert files_below(tmp_path) == []
    await staged.discard()


@pytest.mark.anyio
async def test_removing_leaves_no_file(images: FileImageStore, tmp_path: Path) -> None:
    post_id = await suite.ImageStoreSuite().published(images)
    assert len(files_below(tmp_path)) == 3
    await images.remove(post_id)
    assert files_below(tmp_path) == []


@pytest.fixture
def _umask_of_the_server() -> Iterator[None]:
    former = os.umask(0o077)
    yield
    os.umask(former)


@pytest.mark.anyio
@pytest.mark.usefixtures("_umask_of_the_server")
async def test_withheld_renditions_are_readable_by_the_service_only_also_after_being_shared(
    tmp_path: Path,
) -> None:
    images = FileImageStore(Layout(tmp_path), group=os.getegid())
    post_id = await suite.ImageStoreSuite().published(images)
    public = tmp_path / "renditions" / post_id[-2:] / f"{post_id}.600.jpg"
    withheld = tmp_path / "withheld" / post_id[-2:] / f"{post_id}.600.jpg"
    assert (mode_of(public.parent), mode_of(public)) == (0o750, 0o640)
    await images.withhold(post_id)
    modes = [mode_of(path) for path in (tmp_path / "withheld", withheld.parent, withheld)]
    assert modes == [0o700, 0o700, 0o600]
    await images.expose(post_id)
    assert (mode_of(public.parent), mode_of(public)) == (0o750, 0o640)


@pytest.mark.anyio
async def test_withholding_syncs_both_folders_after_the_move(
    images: FileImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, a rendition is in the new place, or in the former one, and in no third."""
    post_id = await suite.ImageStoreSuite().published(images)
    calls, fsync, rename = list[str](), os.fsync, Path.replace

    def recorded_fsync(descriptor: int) -> None:
        calls.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def recorded_rename(path: Path, target: Path) -> Path:
        calls.append("moved")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_rename)
    await images.withhold(post_id)
    after_the_last_move = calls[len(calls) - calls[::-1].index("moved") :]
    folders = [str(tmp_path / name / post_id[-2:]) for name in ("withheld", "renditions")]
    assert after_the_last_move == folders


@pytest.mark.anyio
async def test_a_rendition_that_is_withheld_names_no_place_for_a_proxy(
    images: FileImageStore,
) -> None:
    """While `expose` has not moved it, the service itself sends it."""
    post_id = await suite.ImageStoreSuite().published(images)
    assert (await images.open_rendition(post_id, "600")).place is not None
    assert (await images.open_withheld(post_id, "600")).place is None
    await images.withhold(post_id)
    for file in (
        await images.open_rendition(post_id, "600"),
        await images.open_withheld(post_id, "600"),
    ):
        assert (file.place, await file.read(0, 3)) == (None, b"600")
        file.close()


@pytest.mark.anyio
async def test_the_records_of_a_withheld_post_lead_to_its_files(images: FileImageStore) -> None:
    post_id = await suite.ImageStoreSuite().published(images)
    await images.withhold(post_id)
    assert images.path_of(post_id, "600").read_bytes() == b"600"
    await images.remove(post_id)
    assert images.path_of(post_id, "600").parent.parent.name == "renditions"


@pytest.mark.anyio
async def test_withheld_renditions_are_listed_by_the_time_of_their_move(
    images: FileImageStore, tmp_path: Path, clock_ms: int
) -> None:
    """Their own times stay: those tell when they were made."""
    post_id, other = [await suite.ImageStoreSuite().published(images) for _ in range(2)]
    for path in files_below(tmp_path / "renditions"):
        os.utime(path, (1, 1))
    await images.withhold(post_id)
    assert await images.public_among([post_id, new_id(), other]) == [other]
    moved_ms = time.time_ns() // 1_000_000 - 60_000
    assert [entry async for entry in images.withheld_before(moved_ms)] == []
    assert [entry async for entry in images.withheld_before(clock_ms)] == [post_id]
    assert {path.stat().st_mtime for path in files_below(tmp_path / "withheld")} == {1}


@pytest.mark.anyio
async def test_removing_deletes_a_rendition_that_is_exposed_at_the_same_time(
    images: FileImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post_id = await suite.ImageStoreSuite().published(images)
    await images.withhold(post_id)
    unlink, moved = Path.unlink, list[str]()

    def expose_first(path: Path, *, missing_ok: bool = False) -> None:
        if path.parent.parent.name == "originals" and not moved:
            moved.append(post_id)
            images._expose(post_id)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", expose_first)
    await images.remove(post_id)
    assert moved == [post_id]
    assert files_below(tmp_path) == []


@pytest.mark.anyio
async def test_quarantine_and_back_leave_a_withheld_rendition_withheld(
    images: FileImageStore, tmp_path: Path, clock_ms: int
) -> None:
    post_id = await suite.ImageStoreSuite().published(images)
    await images.withhold(post_id)
    before = {path.relative_to(tmp_path) for path in files_below(tmp_path)}
    assert {entry async for entry in images.leftovers(clock_ms)} == {post_id}
    assert await images.quarantine(post_id, clock_ms) == 3
    assert await images.put_back(post_id, awaiting=False) == 3
    assert {path.relative_to(tmp_path) for path in files_below(tmp_path)} == before


@pytest.mark.anyio
async def test_quarantine_keeps_every_file_at_its_place_under_the_day_of_the_move(
    images: FileImageStore, tmp_path: Path
) -> None:
    """So that it is put back by moving the day's folders over the data folder's."""
    post_id = await suite.ImageStoreSuite().published(images)
    (shard := tmp_path / "uploads" / post_id[-2:]).mkdir(exist_ok=True)
    for name in (post_id, f"{post_id}.owner", f"{post_id}.unverified"):
        (shard / name).write_text(name)
    before = {path.relative_to(tmp_path): path.read_bytes() for path in files_below(tmp_path)}
    assert await images.quarantine(post_id, 1_795_564_800_000) == len(before) == 6
    day = tmp_path / "quarantine" / "2026-11-25"
    assert {path.relative_to(day): path.read_bytes() for path in files_below(tmp_path)} == before
    assert {file.day for file in images.in_quarantine()} == {"2026-11-25"}


@pytest.mark.anyio
async def test_nothing_in_quarantine_is_replaced(
    images: FileImageStore, tmp_path: Path, clock_ms: int
) -> None:
    post_id = await suite.ImageStoreSuite().stored(images, b"first")
    await images.quarantine(post_id, clock_ms)
    staged = images.stage(post_id)
    await staged.write(b"second")
    await staged.commit()
    assert await images.quarantine(post_id, clock_ms) == 0
    assert await images.has_original(post_id)
    assert await images.quarantine(post_id, clock_ms + suite.DAY_MS) == 1
    assert {path.read_bytes() for path in files_below(tmp_path)} == {b"first", b"second"}


@pytest.mark.anyio
async def test_what_is_purged_leaves_no_folder_and_what_is_not_ours_stays(
    images: FileImageStore, tmp_path: Path, clock_ms: int
) -> None:
    post_id = await suite.ImageStoreSuite().published(images)
    stored_id = await suite.ImageStoreSuite().stored(images)
    await images.quarantine(post_id, clock_ms)
    (tmp_path / "quarantine" / "notes").mkdir()
    (tmp_path / "quarantine" / "2020-01-01").symlink_to(tmp_path)
    later = clock_ms + 2 * suite.DAY_MS
    assert [entry async for entry in images.quarantined(later)] == [post_id]
    assert await images.purge(post_id, later) == 3
    assert await images.purge(stored_id, later) == 0
    assert await images.has_original(stored_id)
    assert [entry async for entry in images.quarantined(later)] == []
    names = {path.name for path in (tmp_path / "quarantine").iterdir()}
    assert names == {"notes", "2020-01-01"}


@pytest.mark.anyio
async def test_names_that_are_no_ids_are_nobodys_leftovers(
    images: FileImageStore, tmp_path: Path, clock_ms: int
) -> None:
    """`.keep` was taken for a post without an id, whose original is the folder of all of them."""
    post_id = await suite.ImageStoreSuite().stored(images)
    for name in (".keep", "README.txt"):
        (tmp_path / "originals" / post_id[-2:] / name).write_text("x")
    (tmp_path / "originals" / "README.txt").write_text("x")
    assert [entry async for entry in images.leftovers(clock_ms)] == [post_id]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_such(number: int) -> None:
    with pytest.raises(StorageFullError), disk_errors():
        raise OSError(number, "full")


def test_other_errors_of_the_disk_stay_what_they_are() -> None:
    with pytest.raises(OSError, match="broken"), disk_errors():
        raise OSError(errno.EIO, "broken")


@pytest.mark.anyio
@pytest.mark.parametrize("digest", [b"", bytes(32)], ids=["any", "announced"])
async def test_what_lies_in_uploads_beside_an_original_never_replaces_it(
    images: FileImageStore, uploads: FileUploadStore, tmp_path: Path, digest: bytes
) -> None:
    """A crash in the middle of `_open` leaves an empty file there."""
    post_id = await suite.ImageStoreSuite().stored(images, b"the original")
    shard = tmp_path / "uploads" / post_id[-2:]
    shard.mkdir()
    (shard / post_id).touch()
    await uploads.promote(post_id, digest)
    assert (tmp_path / "originals" / post_id[-2:] / post_id).read_bytes() == b"the original"


@pytest.mark.anyio
async def test_another_process_takes_over_too(tmp_path: Path) -> None:
    """Two stores on one folder are what two processes have."""
    post_id = new_id()
    first, other = FileUploadStore(Layout(tmp_path)), FileUploadStore(Layout(tmp_path))
    writer = await first.take(post_id)
    await writer.write(b"kept")
    assert await other.offset(post_id) == 4
    with pytest.raises(UploadTakenOverError):
        await writer.write(b"never written")
    await writer.close()
    assert await other.offset(post_id) == 4


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


@pytest.mark.anyio
async def test_what_the_kernel_has_not_in_memory_is_read_by_a_thread(
    images: FileImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes its time holds up its own request only."""
    post_id = await suite.ServedImageStoreSuite().published(images)
    loop_thread, read_by = threading.get_ident(), list[int]()
    pread = os.pread

    def would_block(*_: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "not in memory")

    def slow(descriptor: int, length: int, offset: int) -> bytes:
        read_by.append(threading.get_ident())
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "preadv", would_block)
    monkeypatch.setattr(os, "pread", slow)
    for _ in range(2):
        file: Any = await images.open_rendition(post_id, "600")
        assert await file.read(0, 3) == b"600"
        file.close()
    assert len(read_by) == 2
    assert loop_thread not in read_by


BEFORE, AFTER = "the boot before", "the boot after the power cut"


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Say which boot this is."""

    def say(boot_id: str) -> None:
        monkeypatch.setattr(file_uploads, "boot_id", lambda: boot_id)

    monkeypatch.setattr(file_uploads, "_SYNC_EVERY_BYTES", 10)
    say(BEFORE)
    return say


@pytest.mark.anyio
async def test_after_a_power_cut_what_was_not_synced_does_not_count(
    tmp_path: Path, boot: Callable[[str], None]
) -> None:
    """A file may then have its size, and zeros in it."""
    post_id, layout = new_id(), Layout(tmp_path)
    writer = await FileUploadStore(layout).take(post_id)
    await writer.write(b"0123456789")
    await writer.write(b"not yet")
    await writer.close()
    assert await FileUploadStore(layout).offset(post_id) == 17
    boot(AFTER)
    assert await FileUploadStore(layout).offset(post_id) == 10
    assert layout.upload(post_id).read_bytes() == b"0123456789"
    again = await FileUploadStore(layout).take(post_id)
    await again.write(b"more")
    await again.close()
    assert await FileUploadStore(layout).offset(post_id) == 14


@pytest.mark.anyio
async def test_what_came_in_the_place_of_synced_bytes_is_not_taken_for_them(
    tmp_path: Path, boot: Callable[[str], None]
) -> None:
    post_id, layout = new_id(), Layout(tmp_path)
    writer = await FileUploadStore(layout).take(post_id)
    await writer.write(b"0123456789")
    await writer.rewind(3)
    await writer.write(b"others")
    await writer.close()
    boot(AFTER)
    assert await FileUploadStore(layout).offset(post_id) == 3


@pytest.mark.anyio
async def test_marks_that_a_power_cut_brought_back_never_shorten_an_original(
    tmp_path: Path, boot: Callable[[str], None]
) -> None:
    post_id, layout = new_id(), Layout(tmp_path)
    store = FileUploadStore(layout)
    writer = await store.take(post_id)
    await writer.write(b"0123456789")
    await writer.close()
    await store.promote(post_id, b"")
    layout.unverified(post_id).write_text("4")
    boot(AFTER)
    assert await FileUploadStore(layout).offset(post_id) == 10
    assert layout.original(post_id).read_bytes() == b"0123456789"


@pytest.mark.anyio
async def test_uploads_that_nobody_marked_are_trusted_when_told_so(
    tmp_path: Path, boot: Callable[[str], None]
) -> None:
    post_id, layout = new_id(), Layout(tmp_path)
    layout.upload(post_id).parent.mkdir()
    layout.upload(post_id).write_bytes(b"four")
    file_uploads.trust_uploads(layout)
    boot(AFTER)
    assert await FileUploadStore(layout).offset(post_id) == 4
