"""The power fails at any moment: every answered write is there, and the folder opens.

A real server's writes are recorded, with its answers and the position of the record at each answer.
Then disks are made of prefixes of the record, without the unsynced writes or with any part of them
(`support/power_cuts.py`). Each disk is opened as the next start would open it.
"""

import asyncio
import os
import random
import shutil
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from image_poster.adapters.files import uploads
from image_poster.domain.comments import decode_comment
from image_poster.domain.identity import Identity
from image_poster.domain.images import RENDITIONS
from image_poster.domain.posts import PostStatus
from image_poster.editions.local.background import recover
from image_poster.editions.local.container import Container, open_container
from image_poster.editions.local.data_folder import require_right_database
from image_poster.editions.local.ownership import prepare_folder
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.snapshot import bring_up_to_date
from support import power_cuts, samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import LOCAL, start

PREFIXES = int(os.environ.get("POWER_LOSS_PREFIXES", "30"))
SEED = int(os.environ.get("POWER_LOSS_SEED", "20261125"))
CLIENTS, ROUNDS = 4, 3 if PREFIXES < 100 else 12
COMMAND = (LOCAL[0], str(Path(__file__).parents[1] / "support" / "recorded_server.py"), "serve")
TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}
MEMORY = Path("/dev/shm")  # the disks are many, and never have to last

pytestmark = pytest.mark.skipif(
    power_cuts.COMPILER is None, reason="a C compiler (cc) is not installed"
)


@dataclass
class Thing:
    """A text that was sent: `texts` are the last that was answered and those sent since; `gone`
    tells that its deletion was sent, or answered."""

    texts: list[str]
    gone: str = ""


@dataclass
class Known:
    """The answers that clients have, up to some moment: posts with their images, comments by post
    and id, and uploads by post. `whole` are the uploads whose last byte was acknowledged."""

    posts: dict[str, Thing] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)
    comments: dict[tuple[str, str], Thing] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)


Fact = Callable[[Known], object]


@dataclass
class Notes:
    """Facts, each with how much had been recorded when it was one."""

    records: Path
    facts: list[tuple[int, Fact]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fact: Fact) -> None:
        with self.lock:
            self.facts.append((self.records.stat().st_size, fact))

    def at(self, position: int) -> Known:
        known = Known()
        for told, fact in sorted(self.facts, key=lambda entry: entry[0]):
            if told > position:
                break
            fact(known)
        return known


class Client(threading.Thread):
    """One user, whose things nobody else touches."""

    def __init__(self, url: str, notes: Notes, number: int) -> None:
        super().__init__()
        self.api, self.notes, self.name = Api(url, LOCAL_EDITION), notes, f"user-{number}"
        self.chance = random.Random(SEED + number)
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            with self.api:
                for _ in range(ROUNDS):
                    self.round()
        except BaseException as exc:  # noqa: BLE001 - for the test's own thread
            self.failed = exc

    def round(self) -> None:
        post_id = self.post()
        uploaded = self.upload()
        self.api.processed(f"/posts/{post_id}", self.name)
        for number in range(4):
            self.comment(post_id, str(number))
        self.edit(post_id)
        self.api.processed(f"/posts/{uploaded}", self.name)
        if self.chance.random() < 0.3:
            self.delete(post_id)

    def send(self, method: str, path: str, **parts: Any) -> Any:
        answer = self.api.send(method, path, self.name, **parts)
        assert answer.is_success, answer.text
        return answer

    def image(self) -> bytes:
        """Never the same twice: what stands behind its end is no matter."""
        return samples.jpeg() + self.chance.randbytes(self.chance.randint(1000, 60_000))

    def post(self) -> str:
        image, caption = self.image(), f"{self.chance.random()}"
        answer = self.send("POST", "/posts", files={"image": image}, data={"caption": caption})
        post_id = str(answer.json()["id"])
        self.notes.add(lambda known: known.images.__setitem__(post_id, image))
        self.notes.add(lambda known: known.posts.__setitem__(post_id, Thing([caption])))
        return post_id

    def upload(self) -> str:
        image = self.image()
        length = {**TUS, "upload-length": str(len(image))}
        path = self.send("POST", "/uploads", headers=length).headers["location"]
        post_id = path.rpartition("/")[2]
        self.notes.add(lambda known: known.images.__setitem__(post_id, image))
        self.notes.add(lambda known: known.uploads.__setitem__(post_id, self.name))
        at = 0
        while at < len(image):
            piece = image[at : at + self.chance.randint(5_000, 30_000)]
            headers = {**PIECE, "upload-offset": str(at)}
            if self.chance.random() < 0.3:
                digest = b64encode(sha256(piece).digest()).decode()
                headers["upload-checksum"] = f"sha256 {digest}"
            at = int(
                self.send("PATCH", path, content=piece, headers=headers).headers["upload-offset"]
            )
        self.notes.add(lambda known: known.whole.add(post_id))
        return str(post_id)

    def comment(self, post_id: str, text: str) -> None:
        path = f"/posts/{post_id}/comments"
        comment_id = self.send("POST", path, json={"content": text}).json()["id"]
        key = (post_id, comment_id)
        self.notes.add(lambda known: known.comments.__setitem__(key, Thing([text])))
        if self.chance.random() < 0.3:
            edited = f"{text}, edited"
            self.notes.add(lambda known: known.comments[key].texts.append(edited))
            self.send("PATCH", f"{path}/{comment_id}", json={"content": edited})
            self.notes.add(lambda known: known.comments[key].texts.pop(0))
        if self.chance.random() < 0.3:
            self.notes.add(lambda known: setattr(known.comments[key], "gone", "sent"))
            self.send("DELETE", f"{path}/{comment_id}")
            self.notes.add(lambda known: setattr(known.comments[key], "gone", "answered"))

    def edit(self, post_id: str) -> None:
        caption = f"edited {self.chance.random()}"
        self.notes.add(lambda known: known.posts[post_id].texts.append(caption))
        self.send("PATCH", f"/posts/{post_id}", json={"caption": caption})
        self.notes.add(lambda known: known.posts[post_id].texts.pop(0))

    def delete(self, post_id: str) -> None:
        self.notes.add(lambda known: setattr(known.posts[post_id], "gone", "sent"))
        self.send("DELETE", f"/posts/{post_id}")
        self.notes.add(lambda known: setattr(known.posts[post_id], "gone", "answered"))


def recorded(folder: Path) -> tuple[Path, Notes]:
    """Use a server; the data folder that it had, and what was told."""
    data, records = folder / "data", folder / "records"
    data.mkdir()
    records.touch()
    variables = {
        "LD_PRELOAD": str(power_cuts.recorder(folder)),
        "RECORDED_FOLDER": str(data),
        "RECORDED_TO": str(records),
    }
    notes = Notes(records)
    server = start(COMMAND, "--data-dir", str(data), log=None, **variables)
    clients = [Client(server.url, notes, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    server.kill()
    for client in clients:
        if client.failed is not None:
            raise client.failed
    return data, notes


async def check(data: Path, known: Known) -> None:
    """As the next start does, and then an hour's sweeping."""
    settings = Settings(data_dir=data, disk_reserve=1)
    await recover(settings)
    async with open_container(settings) as container:
        for post_id, user in known.uploads.items():
            await check_upload(container, post_id, user, known)
        await container.upload_settler.complete()
        await container.sweeper.sweep(older_than_ms=time.time_ns() // 1_000_000 + 60_000)
        assert container.database.read("PRAGMA quick_check") == [("ok",)]
        for post_id, thing in known.posts.items():
            await check_post(container, post_id, thing, known)
        for post_id in known.whole:
            await check_image(container, post_id, known.images[post_id])


async def check_upload(container: Container, post_id: str, user: str, known: Known) -> None:
    """Its offset is that of bytes that are there and right, and the rest can come."""
    service, image = container.services.uploads, known.images[post_id]
    offset = (await service.state(post_id, Identity(user))).offset
    stored = container.images._layout
    paths = (stored.upload(post_id), stored.original(post_id))
    content = next((path.read_bytes() for path in paths if path.exists()), b"")
    assert content[:offset] == image[:offset], f"the offset {offset} lies"
    assert len(content) == offset


async def check_post(container: Container, post_id: str, thing: Thing, known: Known) -> None:
    stored = await container.services.stores.posts.find(post_id)
    if stored is None:
        assert thing.gone, "a post was lost"
        return
    assert thing.gone != "answered", "a deleted post is there"
    assert stored.post.caption in thing.texts
    await check_image(container, post_id, known.images[post_id])
    page = await container.services.stores.comments.page(post_id, limit=100, after=None)
    contents = {comment.id: comment.content for comment in map(decode_comment, page.items)}
    assert stored.total_comments == len(contents)
    for (of_post, comment_id), comment in known.comments.items():
        if of_post != post_id:
            continue
        if comment_id in contents:
            assert comment.gone != "answered", "a deleted comment is there"
            assert contents[comment_id] in comment.texts
        else:
            assert comment.gone, "a comment was lost"


async def check_image(container: Container, post_id: str, image: bytes) -> None:
    stored = await container.services.stores.posts.find(post_id)
    assert stored is not None, "a post was lost"
    assert stored.post.status in (PostStatus.PROCESSING, PostStatus.READY)
    layout = container.images._layout
    assert layout.original(post_id).read_bytes() == image
    if stored.post.status is PostStatus.READY:
        for name in RENDITIONS:
            content = layout.rendition(post_id, name).read_bytes()
            assert (content[:2], content[-2:]) == (b"\xff\xd8", b"\xff\xd9")


def test_whatever_a_power_cut_leaves_opens_and_has_what_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, notes = recorded(tmp_path)
    events = list(power_cuts.events(notes.records.read_bytes(), data))
    assert {event.kind for event in events} >= set("CWTFSDRUM")
    shutil.rmtree(data)
    monkeypatch.setattr(uploads, "boot_id", lambda: "the boot after the power cut")
    chance, disk = random.Random(SEED), power_cuts.Disk()
    cuts = set(chance.sample(range(len(events)), min(PREFIXES, len(events))))
    for number, event in enumerate(events):
        disk.happen(event)
        if number in cuts:
            keeps = None if chance.random() < 0.3 else chance
            with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
                disk.cut(Path(folder), keeps)
                open_after_cut(Path(folder), notes.at(event.ends), number)


def open_after_cut(data: Path, known: Known, number: int) -> None:
    try:
        prepare_folder(data)
        bring_up_to_date(data)
        require_right_database(data)
        asyncio.run(check(data, known))
    except Exception as exc:
        raise AssertionError(f"after {number} writes (seed {SEED})") from exc
