"""Resumable uploads against a server that is killed, and with a client of somebody else's."""

import contextlib
import io
from pathlib import Path

import pytest
from tusclient.client import TusClient

from image_poster.client import ImagePosterClient
from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.half_open import half_open_patch
from support.servers import LOCAL, local_server, start
from support.waiting import wait_until

TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}


@pytest.mark.quick
def test_an_upload_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    image = samples.jpeg(900, 600)
    half = len(image) // 2
    server = start(LOCAL, "--data-dir", str(tmp_path))
    with Api(server.url, LOCAL_EDITION) as api:
        size = {**TUS, "upload-length": str(len(image))}
        path = api.send("POST", "/uploads", "alice", headers=size).headers["location"]
        sent = {**PIECE, "upload-offset": "0"}
        assert api.send("PATCH", path, "alice", content=image[:half], headers=sent).is_success
        server.kill()
    with local_server(tmp_path) as again, Api(again.url, LOCAL_EDITION) as api:
        at = int(api.send("HEAD", path, "alice", headers=TUS).headers["upload-offset"])
        assert at == half
        rest = {**PIECE, "upload-offset": str(at)}
        assert api.send("PATCH", path, "alice", content=image[at:], headers=rest).is_success
        post_path = path.replace("uploads", "posts")
        post = api.processed(post_path, "alice")
        assert post["status"] == "ready"
        assert api.get(f"{post_path}/original", "alice").content == image


def status(api: Api, post_id: str) -> str:
    return str(api.processed(f"/posts/{post_id}", "alice")["status"])


@pytest.mark.quick
def test_a_crash_right_after_the_last_byte_is_mended_at_the_next_start(tmp_path: Path) -> None:
    """As if the server had been killed between the byte and the completion."""
    image = samples.jpeg()
    server = start(LOCAL, "--data-dir", str(tmp_path))
    with Api(server.url, LOCAL_EDITION) as api:
        size = {**TUS, "upload-length": str(len(image))}
        path = api.send("POST", "/uploads", "alice", headers=size).headers["location"]
        sent = {**PIECE, "upload-offset": "0"}
        api.send("PATCH", path, "alice", content=image[:-10], headers=sent)
        server.kill()
    post_id = path.rpartition("/")[2]
    (received,) = (tmp_path / "uploads").rglob(post_id)
    with received.open("ab") as file:
        file.write(image[-10:])
    with local_server(tmp_path) as again, Api(again.url, LOCAL_EDITION) as api:
        wait_until(lambda: status(api, post_id) == "ready")


def test_workers_take_uploads_over_from_each_other(tmp_path: Path) -> None:
    image = samples.jpeg(1200, 900)
    with local_server(tmp_path, "--workers", "2") as server, Api(server.url, LOCAL_EDITION) as api:
        size = {**TUS, "upload-length": str(len(image))}
        path = api.send("POST", "/uploads", "alice", headers=size).headers["location"]
        at = 0
        while at < len(image):
            # A connection each, so that either process may get it.
            with Api(server.url, LOCAL_EDITION) as own:
                sent = {**PIECE, "upload-offset": str(at)}
                piece = image[at : at + 2000]
                answer = own.send("PATCH", path, "alice", content=piece, headers=sent)
                assert answer.status_code == 204, answer.text
                at = int(answer.headers["upload-offset"])
        post_path = path.replace("uploads", "posts")
        assert api.processed(post_path, "alice")["status"] == "ready"


def test_a_half_open_upload_is_taken_over_whichever_worker_has_it(tmp_path: Path) -> None:
    """Bytes that the loser still sends are never written."""
    image = samples.jpeg(1200, 900)
    with local_server(tmp_path, "--workers", "2") as server, Api(server.url, LOCAL_EDITION) as api:
        for _ in range(4):  # either process may have it, and either may be asked
            size = {**TUS, "upload-length": str(len(image))}
            path = api.send("POST", "/uploads", "alice", headers=size).headers["location"]
            begun = half_open_patch(server.url, path, "alice", image[:1000], whole=len(image))
            with begun as connection:
                wait_for_size(tmp_path / "uploads", path.rpartition("/")[2], 1000)
                assert offset_by_another_connection(server.url, path) == 1000
                with contextlib.suppress(OSError):  # it may have been closed already
                    connection.sendall(image[1000:2000])
                    connection.recv(4096)  # until it is told so
                for _ in range(4):
                    assert offset_by_another_connection(server.url, path) == 1000
            sent = {**PIECE, "upload-offset": "1000"}
            answer = api.send("PATCH", path, "alice", content=image[1000:], headers=sent)
            assert answer.status_code == 204
            post_path = path.replace("uploads", "posts")
            assert api.processed(post_path, "alice")["status"] == "ready"
            assert api.get(f"{post_path}/original", "alice").content == image


def wait_for_size(folder: Path, name: str, size: int) -> None:
    wait_until(lambda: [file.stat().st_size for file in folder.rglob(name)] == [size], every=0.01)


def offset_by_another_connection(url: str, path: str) -> int:
    with Api(url, LOCAL_EDITION) as own:
        return int(own.send("HEAD", path, "alice", headers=TUS).headers["upload-offset"])


@pytest.mark.parametrize("checksums", [False, True])
def test_tuspy_uploads(tmp_path: Path, *, checksums: bool) -> None:
    """A client that we did not write: https://pypi.org/project/tuspy/"""
    image = samples.jpeg(1200, 900)
    with local_server(tmp_path) as server, Api(server.url, LOCAL_EDITION) as api:
        client = TusClient(f"{server.url}/uploads", headers={"user-id": "alice"})
        uploader = client.uploader(
            file_stream=io.BytesIO(image),
            chunk_size=4000,
            metadata={"filename": "a.jpg", "caption": "by tuspy"},
            upload_checksum=checksums,
        )
        uploader.upload()
        path = f"/posts/{str(uploader.url).rpartition('/')[2]}"
        post = api.processed(path, "alice")
        assert (post["status"], post["caption"]) == ("ready", "by tuspy")
        assert api.get(f"{path}/original", "alice").content == image
        assert len(api.feed(creator="alice")["posts"]) == 1


def test_the_client_sends_the_longest_texts(tmp_path: Path) -> None:
    """They do not fit into Upload-Metadata (8 kB), so they go by JSON, and the bytes by tus."""
    image, caption, alt = tmp_path / "photo.jpg", "ü" * 5000, "Zoë" * 500
    image.write_bytes(samples.jpeg())
    with (
        local_server(tmp_path / "data") as server,
        ImagePosterClient(server.url, "alice") as client,
    ):
        post = client.wait_until_processed(client.post(image, caption=caption, alt=alt).id)
        assert (post.status, post.caption, post.alt) == ("ready", caption, alt)
        assert len(client.feed().posts) == 1
