"""Any split of a file into PATCHes, any cuts, repeats, duplicates in flight and restarts end in the
same bytes and exactly one post."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from contract.ports.suite import ALICE
from image_poster.adapters.files.layout import Layout
from image_poster.adapters.files.picture_store import FilePictureStore
from image_poster.adapters.files.upload_store import FileUploadStore
from image_poster.adapters.memory.awaiting_uploads import MemoryAwaitingUploads
from image_poster.adapters.memory.clock import ManualClock
from image_poster.adapters.memory.post_store import MemoryPostStore
from image_poster.adapters.memory.state import MemoryState
from image_poster.adapters.memory.upload_ledger import MemoryUploadLedger
from image_poster.domain.errors import ImagePosterError, UploadTooLargeError
from image_poster.domain.limits import Limits
from image_poster.domain.posts import PostStatus
from image_poster.domain.signing import Signer
from image_poster.http.bodies import ClientGoneError
from image_poster.http.put_urls import SignedPutUrls
from image_poster.tus.errors import (
    ChecksumMismatchError,
    OffsetMismatchError,
    UploadTakenOverError,
)
from image_poster.tus.headers import Checksum
from image_poster.usecases.complete_upload import CompleteUpload
from image_poster.usecases.delete_post import DeletePost
from image_poster.usecases.end_upload import SettleUploads
from image_poster.usecases.receive_upload import Patch, ReceiveUpload
from image_poster.usecases.reserve_upload import ReserveUpload, UploadOrder
from support import pictures

CONTENT = pictures.jpeg(90, 60)
LENGTH = len(CONTENT)

NO_URLS = SignedPutUrls(Signer(b""))

EXPECTED = (OffsetMismatchError, UploadTakenOverError, UploadTooLargeError, ChecksumMismatchError)


class Step(NamedTuple):
    """What a client on a bad network does next. `at` None is where the server says; `cut` is after
    how many bytes its connection breaks (None: it holds)."""

    kind: str
    at: int | None
    size: int
    cut: int | None
    checksum: str | None


STEPS = st.builds(
    Step,
    kind=st.sampled_from(["patch", "patch", "patch", "head", "stall", "restart"]),
    at=st.one_of(st.none(), st.none(), st.integers(0, LENGTH + 5)),
    size=st.integers(0, LENGTH),
    cut=st.one_of(st.none(), st.integers(0, LENGTH)),
    checksum=st.sampled_from([None, None, "right", "wrong"]),
)


class World:
    """One upload to one service, whose disk outlives it."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self.clock, self.state = ManualClock(), MemoryState()
        self.posts = MemoryPostStore(self.state, self.clock)
        self.ledger = MemoryUploadLedger(self.state)
        self.pictures = FilePictureStore(self.layout)
        self.stalled: list[asyncio.Task[None]] = []
        self.start()

    def start(self) -> None:
        """A new process on the same disk."""
        uploads = FileUploadStore(self.layout)
        completion = CompleteUpload(self.posts, uploads)
        self.receive = ReceiveUpload(self.ledger, uploads, completion, self.clock, Limits())
        awaiting = MemoryAwaitingUploads(self.state)
        self.settle = SettleUploads(
            awaiting, uploads, completion, DeletePost(self.posts, self.pictures), self.clock
        )

    async def restart(self) -> None:
        """End, with whatever was under way; start; recover."""
        for task in self.stalled:
            task.cancel()
        await asyncio.gather(*self.stalled, return_exceptions=True)
        self.start()
        await self.settle.complete()

    async def offset(self, post_id: str) -> int:
        return (await self.receive.state(post_id, ALICE)).offset

    async def do(self, post_id: str, step: Step) -> None:
        if step.kind == "head":
            await self.offset(post_id)
        elif step.kind == "restart":
            await self.restart()
        elif step.kind == "stall":
            self.stalled.append(asyncio.create_task(self.patch(post_id, step, stall=True)))
            await asyncio.sleep(0)
        else:
            await self.patch(post_id, step)

    async def patch(self, post_id: str, step: Step, *, stall: bool = False) -> None:
        at = await self.offset(post_id) if step.at is None else step.at
        piece = CONTENT[at : at + step.size]
        patch = Patch(at, len(piece), checksum=_checksum(step.checksum, piece))
        try:
            body = _body(piece, step.cut, stall=stall)
            await self.receive.append(post_id, ALICE, patch, body)
        except (*EXPECTED, ClientGoneError, asyncio.CancelledError):
            pass
        except ImagePosterError as refused:
            assert refused.code == "unsupported_image", refused  # a piece cut out of the middle
            assert at == 0, at

    async def finish(self, post_id: str) -> None:
        """As every client does in the end."""
        while (at := await self.offset(post_id)) < LENGTH:
            await self.patch(post_id, Step("patch", at, 1000, None, None))
        await asyncio.gather(*self.stalled, return_exceptions=True)


def _checksum(kind: str | None, piece: bytes) -> Checksum | None:
    if kind is None:
        return None
    digest = hashlib.sha256(piece if kind == "right" else piece + b"damaged").digest()
    return Checksum("sha256", digest)


async def _body(piece: bytes, cut: int | None, *, stall: bool) -> AsyncIterator[bytes]:
    sent = piece if cut is None else piece[:cut]
    for at in range(0, len(sent), 300):
        yield sent[at : at + 300]
        await asyncio.sleep(0)
    if stall:
        await asyncio.Event().wait()
    if len(sent) < len(piece):
        raise ClientGoneError


async def upload(folder: Path, steps: list[Step]) -> None:
    world = World(folder)
    reserve = ReserveUpload(world.posts, NO_URLS, world.clock, Limits())
    answer = await reserve.by_tus(ALICE, UploadOrder(LENGTH, "", "", ""), None)
    post_id = answer.location.rpartition("/")[2]
    for step in steps:
        await world.do(post_id, step)
    await world.finish(post_id)
    file = await world.pictures.open_original(post_id)
    assert await file.read(0, file.size) == CONTENT
    file.close()
    assert list(world.state.posts) == [post_id]
    assert world.state.post(post_id).status is PostStatus.PROCESSING


@given(st.lists(STEPS, max_size=8))
@settings(max_examples=150, deadline=None)
def test_whatever_happens_on_the_way_the_bytes_are_right_and_there_is_one_post(
    steps: list[Step],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(upload(Path(folder), steps))
