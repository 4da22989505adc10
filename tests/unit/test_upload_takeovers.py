"""Takeovers of an upload by requests that arrive at nearly the same time."""

import asyncio
import fcntl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from image_poster.adapters.files.schema import Layout
from image_poster.adapters.files.uploads import FileUploadStore
from image_poster.domain.errors import UploadTakenOverError
from image_poster.domain.ids import new_id

pytestmark = pytest.mark.anyio
Result = TypeVar("Result")


class UploadsWithControlledWaits(FileUploadStore):
    """The test decides when the wait of each request ends."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Layout(folder))
        self.waits: list[asyncio.Event] = []

    async def _wait_until_idle(self, post_id: str) -> None:
        del post_id
        self.waits.append(asyncio.Event())
        await self.waits[-1].wait()

    async def start_waiting(self, request: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Start a request, and return once it waits."""
        waiting = len(self.waits)
        task = asyncio.create_task(request)
        while len(self.waits) == waiting:
            await asyncio.sleep(0)
        return task


async def test_the_newest_request_keeps_the_upload_if_its_wait_ends_first(tmp_path: Path) -> None:
    uploads, post_id = UploadsWithControlledWaits(tmp_path), new_id()
    older = await uploads.start_waiting(uploads.take(post_id))
    newer = await uploads.start_waiting(uploads.take(post_id))
    for wait in reversed(uploads.waits):
        wait.set()
    with pytest.raises(UploadTakenOverError):
        await older
    writer = await newer
    await writer.write(b"kept")
    await writer.close()
    assert (writer.superseded, await uploads.received(post_id)) == (False, 4)


async def test_an_offset_ends_older_requests_that_still_wait(tmp_path: Path) -> None:
    uploads, post_id = UploadsWithControlledWaits(tmp_path), new_id()
    older = await uploads.start_waiting(uploads.take(post_id))
    newer = await uploads.start_waiting(uploads.offset(post_id))
    uploads.waits[1].set()
    assert await newer == 0
    uploads.waits[0].set()
    with pytest.raises(UploadTakenOverError):
        await older


async def test_a_request_that_ends_while_it_waits_supersedes_nothing(tmp_path: Path) -> None:
    uploads, post_id = UploadsWithControlledWaits(tmp_path), new_id()
    older = await uploads.start_waiting(uploads.take(post_id))
    newer = await uploads.start_waiting(uploads.take(post_id))
    newer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await newer
    uploads.waits[0].set()
    assert not (await older).superseded


@pytest.mark.parametrize(("unverified", "offset"), [(False, 9), (True, 4)])
async def test_a_superseded_request_for_the_offset_answers_the_verified_bytes(
    tmp_path: Path, *, unverified: bool, offset: int
) -> None:
    layout, post_id = Layout(tmp_path), new_id()
    uploads = FileUploadStore(layout)
    writer = await uploads.take(post_id)
    await writer.write(b"kept")
    await writer.close()
    with layout.upload(post_id).open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # no request can claim the upload now
        offset_request = asyncio.create_task(uploads.offset(post_id))
        await asyncio.sleep(0)
        takeover = asyncio.create_task(uploads.take(post_id, unverified=unverified))
        superseded = uploads._writers[post_id]
        while not superseded.superseded:
            await asyncio.sleep(0.001)
        file.seek(4)
        file.write(b", new")  # as a newer request, which claimed the upload first
        if unverified:
            layout.unverified(post_id).write_text("4")
    assert await offset_request == offset
    await takeover
