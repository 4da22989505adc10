"""Uploads through networks that cut connections, stall and lose answers: with our clients, and with
other people's."""

import asyncio
import io
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pytest
import tusclient.exceptions
from requests.exceptions import RequestException
from tusclient.client import TusClient

from aws_local.ports import free_port
from image_poster.client import AsyncImagePosterClient, ImagePosterClient, Policy, Progress
from image_poster.client.journal import RequestJournal
from support import peers, samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api, someone
from support.chaos import RunningProxy, Weather, chaos
from support.servers import LOCAL, Server, local_server
from support.waiting import wait_until

IMAGE = samples.noisy(1300)
HURRIED = Policy(base=0.05, silence=0.5)
STORMS = {
    "reset": Weather(1, cut_after_bytes=200_000),
    "closed": Weather(2, cut_after_bytes=200_000, ways=("fin",)),
    "black hole": Weather(3, cut_after_bytes=400_000, ways=("blackhole",)),
    "answers lost": Weather(4, lost_answers=0.4, ways=("rst", "fin")),
    "slow": Weather(
        5, latency=0.03, bytes_per_second=4_000_000, cut_after_bytes=500_000, exactly=True
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with local_server(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> RequestJournal:
    return RequestJournal(tmp_path / "state")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(IMAGE)
    return path


def assert_one_post(server: Server, user: str, content: bytes = IMAGE, **fields: Any) -> None:
    """The user has this one post, with these bytes."""
    with Api(server.url, LOCAL_EDITION) as api:
        (post,) = api.feed(creator=user, sort="new")["posts"]
        assert post["status"] == "ready"
        assert {name: post[name] for name in fields} == fields
        assert api.get(f"/posts/{post['id']}/original", user).content == content


@pytest.mark.quick
@pytest.mark.parametrize("storm", STORMS)
def test_a_file_is_posted_once(
    server: Server, photo: Path, journal: RequestJournal, storm: str
) -> None:
    alice, reports = someone("alice"), list[Progress]()
    with chaos(server.url, STORMS[storm]) as proxy:
        with ImagePosterClient(proxy.url, alice, policy=HURRIED, journal=journal) as client:
            post = client.post(photo, caption="at last", progress=reports.append)
            client.wait_until_processed(post.id)
        assert proxy.counts.cuts > 0
    assert_one_post(server, alice, caption="at last")
    assert any(progress.trouble for progress in reports)
    assert (reports[-1].sent, reports[-1].total) == (len(IMAGE), len(IMAGE))


def test_the_asynchronous_client_posts_many_at_once(
    server: Server, journal: RequestJournal
) -> None:
    users = [someone("alice") for _ in range(4)]

    async def post(url: str, user: str) -> None:
        async with AsyncImagePosterClient(url, user, policy=HURRIED, journal=journal) as client:
            post = await client.post(io.BytesIO(IMAGE))
            await client.wait_until_processed(post.id)

    async def post_all(url: str) -> None:
        await asyncio.gather(*(post(url, user) for user in users))

    with chaos(server.url, Weather(6, cut_after_bytes=300_000, ways=("rst", "fin"))) as proxy:
        asyncio.run(post_all(proxy.url))
    for user in users:
        assert_one_post(server, user)


def test_a_pipe_is_posted_though_it_cannot_be_read_again(
    server: Server, photo: Path, journal: RequestJournal
) -> None:
    alice = someone("alice")
    with (
        chaos(server.url, Weather(7, cut_after_bytes=300_000)) as proxy,
        subprocess.Popen(["cat", str(photo)], stdout=subprocess.PIPE) as cat,
        ImagePosterClient(proxy.url, alice, policy=HURRIED, journal=journal) as client,
    ):
        post = client.post(cast("BinaryIO", cat.stdout))
        client.wait_until_processed(post.id)
    assert_one_post(server, alice)


@pytest.mark.quick
def test_an_upload_goes_on_though_the_server_is_killed(
    tmp_path: Path, journal: RequestJournal
) -> None:
    alice = someone("alice")
    with ExitStack() as stack:
        flags = ("--port", str(free_port()))
        servers = [stack.enter_context(local_server(tmp_path, *flags))]
        url = servers[0].url

        def kill_in_the_middle(progress: Progress) -> None:
            if progress.sent > 600_000 and len(servers) == 1:
                servers[0].kill()
                servers.append(stack.enter_context(local_server(tmp_path, *flags)))

        with ImagePosterClient(url, alice, policy=HURRIED, journal=journal) as client:
            post = client.post(io.BytesIO(IMAGE), progress=kill_in_the_middle)
            client.wait_until_processed(post.id)
        assert len(servers) == 2
        assert_one_post(servers[1], alice)


@pytest.mark.parametrize("seed", [1, 2])
def test_tuspy_uploads_through_a_bad_network(server: Server, seed: int) -> None:
    """https://pypi.org/project/tuspy/ goes on by its own means, and by being asked again."""
    alice = someone("alice")
    with chaos(server.url, Weather(seed, cut_after_bytes=250_000)) as proxy:
        client = TusClient(f"{proxy.url}/uploads", {"user-id": alice, "Idempotency-Key": "one"})
        uploader = client.uploader(
            file_stream=io.BytesIO(IMAGE),
            chunk_size=200_000,
            retries=20,
            retry_delay=0.02,
            metadata={"caption": "by tuspy"},
        )
        for _ in range(50):
            try:
                uploader.upload()
                break
            except (tusclient.exceptions.TusCommunicationError, RequestException, OSError):
                continue
        assert proxy.counts.cuts > 0
        path = f"/posts/{str(uploader.url).rpartition('/')[2]}"
    with Api(server.url, LOCAL_EDITION) as api:
        api.processed(path, alice)
    assert_one_post(server, alice, caption="by tuspy")


@peers.needs_peers
@pytest.mark.parametrize("storm", ["reset", "closed", "answers lost", "slow"])
def test_tus_js_client_uploads_through_a_bad_network(
    server: Server, photo: Path, storm: str
) -> None:
    """https://github.com/tus/tus-js-client, in node."""
    alice = someone("alice")
    with chaos(server.url, STORMS[storm]) as proxy:
        script = str(peers.FOLDER / "upload.mjs")
        done = subprocess.run(
            ["node", script, f"{proxy.url}/uploads", str(photo), alice, "one"],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert proxy.counts.cuts > 0
    with Api(server.url, LOCAL_EDITION) as api:
        api.processed(f"/posts/{done.stdout.strip().rpartition('/')[2]}", alice)
    assert_one_post(server, alice, caption="by tus-js-client")


class Command:
    """`image-poster post` of some photographs, as one user."""

    def __init__(self, url: str, folder: Path, photos: list[Path]) -> None:
        self.user = someone("alice")
        self._arguments = [
            *(*LOCAL[:-1], "post", *map(str, photos), "--url", url, "--as", self.user),
            *("--at-once", "2"),
        ]
        self._environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}

    def start(self, stderr: Any = subprocess.PIPE) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self._arguments,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=self._environment,
            # Whoever runs the tests may ignore Ctrl-C, as shells do for what is in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )


class StormScale(NamedTuple):
    """The size of the tests with ten photographs: their side in pixels, the mean of bytes until a
    cut, and the seconds of each outage. `make storm` runs them in full size."""

    side: int
    mean_bytes: float
    dark_seconds: float


SCALE = StormScale(3650, 1e6, 20) if os.environ.get("STORM") else StormScale(650, 1e5, 1.5)


@pytest.fixture(scope="module")
def ten_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    photos = [folder / f"photo-{number}.jpg" for number in range(10)]
    for number, path in enumerate(photos):
        path.write_bytes(samples.noisy(SCALE.side, number))
    return photos


def wait_for_bytes(proxy: RunningProxy, least: float, process: "subprocess.Popen[str]") -> None:
    wait_until(lambda: proxy.counts.up >= least or process.poll() is not None, every=0.01)


def has_connected(proxy: RunningProxy, before: int) -> bool:
    return proxy.counts.connections > before


def assert_all_posted_once(server: Server, user: str, photos: list[Path]) -> None:
    with Api(server.url, LOCAL_EDITION) as api:
        posts = api.feed(creator=user, limit=100)["posts"]
        originals = [api.get(f"/posts/{post['id']}/original", user).content for post in posts]
    assert sorted(originals) == sorted(path.read_bytes() for path in photos)


def stormy(bytes_per_second: int | None = None) -> Weather:
    storm = Weather(8, cut_after_bytes=SCALE.mean_bytes, ways=("rst", "fin"))
    return replace(storm, bytes_per_second=bytes_per_second)


def test_ten_photographs_are_posted_once_each_though_it_is_dark_twice(
    server: Server, tmp_path: Path, ten_photos: list[Path]
) -> None:
    total = sum(path.stat().st_size for path in ten_photos)
    with chaos(server.url, stormy()) as proxy:
        command = Command(proxy.url, tmp_path, ten_photos)
        with command.start() as process:
            for part in (0.2, 0.6):
                wait_for_bytes(proxy, part * total, process)
                proxy.go_dark(SCALE.dark_seconds)
            said, troubles = process.communicate(timeout=600)
        assert process.returncode == 0, troubles
        assert proxy.counts.cuts > 0
    assert_all_posted_once(server, command.user, ten_photos)
    assert said.count("/600.jpg") == 10
    assert "trying again" in troubles


def test_ten_photographs_are_posted_once_each_though_the_command_is_killed_and_repeated(
    server: Server, tmp_path: Path, ten_photos: list[Path]
) -> None:
    total = sum(path.stat().st_size for path in ten_photos)
    # So slow that none comes to its end before it is killed.
    with chaos(server.url, stormy(total // 10)) as proxy:
        command = Command(proxy.url, tmp_path, ten_photos)
        ends = ((0.15, signal.SIGKILL), (0.15, signal.SIGINT), (0.2, signal.SIGKILL))
        for part, number in ends:
            connections = proxy.counts.connections
            with command.start() as process:
                # What the former one had sent may still arrive.
                wait_until(partial(has_connected, proxy, connections))
                wait_for_bytes(proxy, proxy.counts.up + part * total, process)
                process.send_signal(number)
                _, troubles = process.communicate(timeout=60)
                assert "Traceback" not in troubles
                assert process.returncode == (3 if number == signal.SIGINT else -number)
        proxy.change_weather(stormy())
        with command.start() as process:
            said, troubles = process.communicate(timeout=600)
        assert process.returncode == 0, troubles
        # Of what is killed, some is on its way: more of it, the busier the machine is.
        assert proxy.counts.up < 2 * total
    assert_all_posted_once(server, command.user, ten_photos)
    assert said.count("/600.jpg") == 10


def test_on_a_terminal_there_are_bars_and_what_is_being_retried(
    server: Server, tmp_path: Path, photo: Path
) -> None:
    with chaos(server.url, Weather(9, cut_after_bytes=200_000)) as proxy:
        own, other = pty.openpty()
        with Command(proxy.url, tmp_path, [photo]).start(stderr=other) as process:
            os.close(other)
            drawn = b"".join(iter(lambda: read_terminal(own), b"")).decode()
        os.close(own)
    assert process.returncode == 0
    assert "photo.jpg" in drawn
    assert "B/s" in drawn
    assert "trying again" in drawn
    assert "posted" in drawn


def read_terminal(descriptor: int) -> bytes:
    """Read the drawn text; nothing once the other end is closed (Linux says EIO then)."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""
