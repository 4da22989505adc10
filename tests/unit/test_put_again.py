"""The effects of a PUT on an upload whose bytes are all there."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contract.ports.suite import an_upload
from fakes.clock import ManualClock
from fakes.posts import MemoryPostStore
from fakes.state import MemoryState
from image_poster.adapters.files.images import FileImageStore
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.files.uploads import FileUploadStore
from support.services import services

pytestmark = pytest.mark.anyio


async def cut() -> AsyncIterator[bytes]:
    yield b"abc"
    raise ConnectionResetError


async def test_a_put_that_comes_between_the_original_and_its_row_changes_neither(
    tmp_path: Path,
) -> None:
    """The first PUT has made the file the original, and its transaction is under way or lost by a
    crash. The second is cut after three bytes."""
    clock, state, layout = ManualClock(0), MemoryState(), Layout(tmp_path)
    posts, uploads = MemoryPostStore(state, clock), FileUploadStore(layout)
    receive = services(state, clock, posts=posts, uploads=uploads).uploads
    post, upload = an_upload(10)
    await posts.add(post, None, upload)
    writer = await uploads.take(post.id)
    await writer.write(b"all of ten")
    await writer.close()
    await uploads.promote(post.id, b"")
    await receive.put(post.id, 10, cut())
    file: Any = await FileImageStore(layout).open_original(post.id)
    assert await file.read(0, file.size) == b"all of ten"
    file.close()
    stored = await posts.find(post.id)
    assert stored is not None
    assert stored.post.status == "processing"
