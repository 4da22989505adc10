"""Any split of a file into PATCHes, any cuts, repeats, duplicates in flight and restarts end in the
same bytes and exactly one post."""

import asyncio
import contextlib
import hashlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.ports.suite import ALICE
from fakes.clock import ManualClock
from fakes.posts import MemoryPostStore
from fakes.state import MemoryState
from fakes.uploads import MemoryUploadRecordStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore
from image_poster.adapters.files.images import FileImageStore
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.files.uploads import FileUploadStore
from image_poster.adapters.s3.images import pieces
from image_poster.adapters.s3.uploads import S3UploadStore
from image_poster.domain.errors import (
    ChecksumMismatchError,
    ImagePosterError,
    OffsetMismatchError,
    UploadTakenOverError,
    UploadTooLargeError,
)
from image_poster.domain.posts import PostStatus
from image_poster.domain.uploads import UploadOrder
from image_poster.editions.local.maintenance import UploadSettler
from image_poster.http.requests import ClientGoneError
from image_poster.ports.posts import PostStore
from image_poster.services.uploads import Patch, UploadService
from image_poster.tus import Checksum
from support import samples
from support.dynamodb import CrashError, FakeTable
from support.examples import examples
from support.s3 import FakeS3
from support.services import services

CONTENT = samples.jpeg(90, 60)
LENGTH = len(CONTENT)

EXPECTED = (OffsetMismatchError, UploadTakenOverError, UploadTooLargeError, ChecksumMismatchError)


class Step(NamedTuple):
    """The next step of a client on a bad network. `at` None is the offset that the server says;
    `cut` is the number of bytes after which its connection breaks (None: it holds)."""

    kind: str
    at: int | None
    size: int
    cut: int | None
    checksum: str | None


STEPS = st.builds(
    Step,
    kind=st.sampled_from(["patch", "patch", "patch", "twice", "head", "stall", "restart"]),
    at=st.one_of(st.none(), st.none(), st.integers(0, LENGTH + 5)),
    size=st.integers(0, LENGTH),
    cut=st.one_of(st.none(), st.integers(0, LENGTH)),
    checksum=st.sampled_from([None, None, "right", "wrong"]),
)


class World(ABC):
    """One upload to one service, whose storage outlives it. Subclasses have `posts` and
    `uploads`."""

    posts: PostStore
    uploads: UploadService

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.stalled: list[asyncio.Task[None]] = []

    @abstractmethod
    async def restart(self) -> None:
        """End in the middle of something; start; recover."""

    @abstractmethod
    async def content(self, post_id: str) -> bytes:
        """The post's original."""

    @abstractmethod
    def all_posts(self) -> list[str]:
        """The ids of all posts."""

    async def offset(self, post_id: str) -> int:
        return (await self.uploads.state(post_id, ALICE)).offset

    async def do(self, post_id: str, step: Step) -> None:
        if step.kind == "head":
            await self.offset(post_id)
        elif step.kind == "restart":
            await self.restart()
        elif step.kind == "twice":
            shorter = step._replace(size=step.size // 2)
            await asyncio.gather(self.patch(post_id, step), self.patch(post_id, shorter))
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
            await self.uploads.append(post_id, ALICE, patch, body)
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


class OneMachine(World):
    """Files, as the local edition has them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.layout, self.state = Layout(folder), MemoryState()
        self.posts = MemoryPostStore(self.state, self.clock)
        self.images = FileImageStore(self.layout)
        self.start()

    def start(self) -> None:
        """A new process on the same disk."""
        uploads = FileUploadStore(self.layout)
        started = services(
            self.state, self.clock, posts=self.posts, images=self.images, uploads=uploads
        )
        self.uploads = started.uploads
        self.settler = UploadSettler(
            MemoryUploadRecordStore(self.state),
            self.images,
            uploads,
            started.uploads,
            started.posts,
            self.clock,
        )

    async def restart(self) -> None:
        for task in self.stalled:
            task.cancel()
        await asyncio.gather(*self.stalled, return_exceptions=True)
        self.start()
        await self.settler.complete()

    async def content(self, post_id: str) -> bytes:
        file = await self.images.open_original(post_id)
        content: bytes = await file.read(0, file.size)
        file.close()
        return content

    def all_posts(self) -> list[str]:
        return list(self.state.posts)


class Lambdas(World):
    """Pieces in S3, and an offset in DynamoDB. A restart is the end of a Lambda at one of the next
    writes, before or after it."""

    def __init__(self, _: Path) -> None:
        super().__init__()
        self.table, self.client = FakeTable(), FakeS3()
        self.posts = DynamoPostStore(self.table, self.clock)
        offsets = DynamoUploadRecordStore(self.table)
        self.uploads = services(
            clock=self.clock,
            posts=self.posts,
            uploads=S3UploadStore(self.client, "uploads", offsets, piece_bytes=LENGTH),
            upload_records=DynamoUploadRecordStore(self.table),
        ).uploads
        self.crashes = 0

    async def restart(self) -> None:
        self.crashes += 1
        writes_left = self.crashes % 3

        def crash_soon() -> None:
            nonlocal writes_left
            writes_left -= 1
            if writes_left < 0:
                self.table.around = lambda: None
                raise CrashError

        self.table.around = crash_soon

    async def patch(self, post_id: str, step: Step, *, stall: bool = False) -> None:
        with contextlib.suppress(CrashError):
            await super().patch(post_id, step, stall=stall)

    async def offset(self, post_id: str) -> int:
        while True:
            with contextlib.suppress(CrashError):
                return await super().offset(post_id)

    async def finish(self, post_id: str) -> None:
        for task in self.stalled:  # nobody takes over from a Lambda: the gateway gives it up
            task.cancel()
        await super().finish(post_id)

    async def content(self, post_id: str) -> bytes:
        return b"".join(pieces(self.client, "uploads", post_id))

    def all_posts(self) -> list[str]:
        return [str(item["id"]) for item in self.table.items.values()]


def _checksum(kind: str | None, piece: bytes) -> Checksum | None:
    if kind is None:
        return None
    digest = hashlib.sha256(piece if kind == "right" else piece + b"damaged").digest()
    return Checksum("sha256", digest)


async def _body(piece: bytes, cut: int | None, *, stall: bool) -> AsyncIterator[bytes]:
    sent = piece if cut is None else piece[:cut]
    if stall:  # before its last byte: with that, the body ends
        sent = sent[: max(0, len(piece) - 1)]
    for at in range(0, len(sent), 300):
        yield sent[at : at + 300]
        await asyncio.sleep(0)
    if stall and piece:
        await asyncio.Event().wait()
    if len(sent) < len(piece):
        raise ClientGoneError


async def upload(world: World, steps: list[Step], *, announced: bool) -> None:
    sha256 = hashlib.sha256(CONTENT).digest() if announced else b""
    order = UploadOrder(LENGTH, sha256=sha256)
    answer, _ = await world.uploads.reserve_by_tus(ALICE, order, None)
    post_id = answer.location.rpartition("/")[2]
    for step in steps:
        await world.do(post_id, step)
    await world.finish(post_id)
    assert await world.content(post_id) == CONTENT
    assert world.all_posts() == [post_id]
    stored = await world.posts.find(post_id)
    assert stored is not None
    assert stored.post.status is PostStatus.PROCESSING


@pytest.mark.parametrize("kind", [OneMachine, Lambdas])
@given(steps=st.lists(STEPS, max_size=8), announced=st.booleans())
@settings(max_examples=max(200, examples()), deadline=None)
def test_whatever_happens_on_the_way_the_bytes_are_right_and_there_is_one_post(
    kind: Callable[[Path], World], steps: list[Step], *, announced: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(upload(kind(Path(folder)), steps, announced=announced))
