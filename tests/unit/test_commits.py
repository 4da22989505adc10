"""The durable transactions of each request and of image work, under the limits of `jwt`.

Each costs a sync of the disk. One fact is stored by one transaction, with everything that
belongs to it: the quota, the idempotency record, the records of files.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from image_poster.adapters.oidc import own_token
from image_poster.adapters.sqlite.database import Database
from image_poster.domain.limits import PUBLIC_RATES
from image_poster.editions.local.access import token_key
from image_poster.editions.local.container import Container, open_container
from image_poster.editions.local.data_folder import DATABASE, create_database
from image_poster.editions.local.settings import Settings
from support import samples
from support.renderer import FakeRenderer

pytestmark = pytest.mark.anyio
IMAGE = samples.jpeg()
TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream", "upload-offset": "0"}


@dataclass
class Commits:
    """Counts the transactions of a database's writer that changed something."""

    database: Database
    count: int = field(default=0)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    _changes: int = field(default=0)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = self.database._writer._connection
        self._connection.set_trace_callback(self._trace)

    def _trace(self, statement: str) -> None:
        if statement.startswith("BEGIN"):
            self._changes = self._connection.total_changes
            self._loop.call_soon_threadsafe(self.begun.set)
        elif statement == "COMMIT" and self._connection.total_changes > self._changes:
            self.count += 1

    def drain(self) -> int:
        """Return the number since the last call."""
        count, self.count = self.count, 0
        return count


@dataclass
class Service:
    """The app of one machine with `--auth jwt`, and its database's commits."""

    container: Container
    http: httpx.AsyncClient
    commits: Commits

    async def send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        answer = await self.http.request(method, path, **parts)
        assert answer.is_success, answer.text
        return answer

    async def post(self, **headers: str) -> httpx.Response:
        files = {"image": ("photo.jpg", IMAGE)}
        return await self.send("POST", "/posts", files=files, headers=headers)

    async def ready(self) -> str:
        """The id of a post that is ready."""
        post_id = str((await self.post()).json()["id"])
        job = await self.container.job_runner(FakeRenderer()).run_next()  # type: ignore[arg-type]
        assert job is not None
        assert job.outcome == "ready"
        self.commits.drain()
        return post_id


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    create_database(tmp_path, print)
    async with open_container(Settings(data_dir=tmp_path, auth="jwt")) as container:
        assert container.services.limits.rates == PUBLIC_RATES
        transport = httpx.ASGITransport(container.app())  # type: ignore[arg-type]
        token = own_token(token_key(tmp_path), "alice", seconds=600)
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as http:
            yield Service(container, http, Commits(container.database))


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "k"}], ids=["plain", "key"])
async def test_a_multipart_post_its_quota_and_its_record_are_one(
    service: Service, headers: dict[str, str]
) -> None:
    await service.post(**headers)
    assert service.commits.drain() == 1


async def test_a_replay_counts_the_bytes_that_were_sent_again(service: Service) -> None:
    await service.post(**{"idempotency-key": "k"})
    service.commits.drain()
    await service.post(**{"idempotency-key": "k"})
    assert service.commits.drain() == 1


async def test_a_refused_multipart_body_is_counted_by_one(service: Service) -> None:
    form = httpx.Request("POST", "http://localhost", files={"image": b"no image" * 100})
    headers = {"content-type": form.headers["content-type"]}
    answer = await service.http.post("/posts", content=form.read(), headers=headers)
    assert answer.status_code == 415
    assert service.commits.drain() == 1


async def test_a_post_that_a_stop_cancels_in_its_commit_counts_its_bytes_once(
    service: Service, tmp_path: Path
) -> None:
    """A queued transaction goes on after the cancellation, and counts the image."""
    other_writer = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    other_writer.execute("BEGIN IMMEDIATE")
    service.commits.begun.clear()
    post = asyncio.create_task(service.post())
    await service.commits.begun.wait()
    post.cancel()
    other_writer.execute("ROLLBACK")
    other_writer.close()
    with pytest.raises(asyncio.CancelledError):
        await post
    await service.container.database.write(lambda _: None)  # behind the post's
    assert service.container.database.read("SELECT bytes FROM daily_bytes") == [(len(IMAGE),)]


async def test_a_comment_is_one_and_its_edit_and_its_deletion_are_one_each(
    service: Service,
) -> None:
    post_id = await service.ready()
    path = f"/posts/{post_id}/comments"
    comment = (await service.send("POST", path, json={"content": "first"})).json()
    assert service.commits.drain() == 1
    headers = {"idempotency-key": "k"}
    await service.send("POST", path, json={"content": "second"}, headers=headers)
    assert service.commits.drain() == 1
    await service.send("PATCH", f"{path}/{comment['id']}", json={"content": "other"})
    assert service.commits.drain() == 1
    await service.send("DELETE", f"{path}/{comment['id']}")
    assert service.commits.drain() == 1


async def test_an_edit_and_a_deletion_of_a_post_are_one_each(service: Service) -> None:
    path = f"/posts/{await service.ready()}"
    await service.send("PATCH", path, json={"caption": "other"})
    assert service.commits.drain() == 1
    await service.send("DELETE", path)
    assert service.commits.drain() == 1


async def test_a_reservation_and_a_patch_with_the_whole_image_are_two(service: Service) -> None:
    image = {"size": len(IMAGE), "content_type": "image/jpeg"}
    post = (await service.send("POST", "/posts", json={"image": image})).json()
    assert service.commits.drain() == 1
    await service.send("PATCH", post["upload"]["tus"], content=IMAGE, headers=PIECE)
    assert service.commits.drain() == 1
    created = {**TUS, "upload-length": str(len(IMAGE))}
    path = (await service.send("POST", "/uploads", headers=created)).headers["location"]
    assert service.commits.drain() == 1
    await service.send("PATCH", path, content=IMAGE, headers=PIECE)
    assert service.commits.drain() == 1


async def test_image_work_is_a_lease_and_a_publication_with_the_files_records(
    service: Service,
) -> None:
    await service.post()
    service.commits.drain()
    await service.container.job_runner(FakeRenderer()).run_next()  # type: ignore[arg-type]
    assert service.commits.drain() == 2
    records = service.container.database.read("SELECT name, size FROM files ORDER BY name")
    assert records == [("1600", 4), ("600", 4), ("original", len(IMAGE))]


async def test_reading_and_waiting_store_nothing(service: Service) -> None:
    post_id = await service.ready()
    for path in ("/posts", "/posts?sort=new", f"/posts/{post_id}", f"/posts/{post_id}/comments"):
        await service.send("GET", path)
    assert await service.container.job_runner(FakeRenderer()).run_next() is None  # type: ignore[arg-type]
    assert service.commits.drain() == 0
