"""An answer that never came: the request did its work, and is repeated with the same key."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api, someone
from support.chaos import Weather, chaos
from support.servers import local_server

pytestmark = pytest.mark.quick

IMAGE = samples.jpeg(300, 200)
TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}
LENGTH = {**TUS, "upload-length": str(len(IMAGE))}
KEY = {"idempotency-key": "the same"}


@dataclass
class Service:
    """The service, on a good way, and on one on which every answer is lost."""

    api: Api
    lossy: Api
    database: Path

    def send(self, method: str, path: str, user: str, **parts: Any) -> httpx.Response:
        """The answer to the repeated request, after its first answer was lost."""
        with pytest.raises(httpx.TransportError):
            self.lossy.send(method, path, user, **parts)
        return self.api.send(method, path, user, **parts)

    def uploads(self) -> int:
        connection = sqlite3.connect(self.database)
        (count,) = connection.execute("SELECT count(*) FROM uploads").fetchone()
        connection.close()
        return int(count)

    def assert_one_post(self, user: str, path: str) -> dict[str, Any]:
        post: dict[str, Any] = self.api.processed(path, user)
        assert post["status"] == "ready"
        assert self.api.feed(creator=user)["posts"] == [post]
        assert self.api.get(f"{path}/original", user).content == IMAGE
        return post


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("data")
    with (
        local_server(folder) as server,
        chaos(server.url, Weather(lost_answers=1.0)) as proxy,
        Api(server.url, LOCAL_EDITION) as api,
        Api(proxy.url, LOCAL_EDITION) as lossy,
    ):
        yield Service(api, lossy, folder / "image_poster.db")


def test_a_creation_whose_answer_was_lost_makes_one_upload(service: Service) -> None:
    alice, before = someone("alice"), service.uploads()
    created = service.send("POST", "/uploads", alice, headers={**LENGTH, **KEY})
    assert created.status_code == 201
    assert created.headers["idempotent-replayed"] == "true"
    assert service.uploads() == before + 1
    path = created.headers["location"]
    service.api.send("PATCH", path, alice, content=IMAGE, headers={**PIECE, "upload-offset": "0"})
    service.assert_one_post(alice, path.replace("uploads", "posts"))


def test_a_creation_with_bytes_whose_answer_was_lost_says_how_far_it_is(
    service: Service,
) -> None:
    """The repeat tells how far it had come, and its own bytes are not taken twice."""
    alice, before = someone("alice"), service.uploads()
    headers = {**LENGTH, **PIECE, **KEY}
    created = service.send("POST", "/uploads", alice, headers=headers, content=IMAGE[:500])
    assert created.headers["upload-offset"] == "500"
    assert service.uploads() == before + 1
    path, rest = created.headers["location"], {**PIECE, "upload-offset": "500"}
    service.api.send("PATCH", path, alice, content=IMAGE[500:], headers=rest)
    service.assert_one_post(alice, path.replace("uploads", "posts"))


def test_a_patch_in_the_middle_whose_answer_was_lost_goes_on_after_asking(service: Service) -> None:
    alice = someone("alice")
    path = service.api.send("POST", "/uploads", alice, headers=LENGTH).headers["location"]
    sent = {**PIECE, "upload-offset": "0"}
    repeated = service.send("PATCH", path, alice, content=IMAGE[:500], headers=sent)
    assert repeated.status_code == 409  # as the protocol wants: ask where it is, then go on
    head = service.api.send("HEAD", path, alice, headers=TUS)
    assert head.headers["upload-offset"] == "500"
    rest = {**PIECE, "upload-offset": "500"}
    done = service.api.send("PATCH", path, alice, content=IMAGE[500:], headers=rest)
    assert (done.status_code, done.headers["upload-offset"]) == (204, str(len(IMAGE)))
    service.assert_one_post(alice, path.replace("uploads", "posts"))


def test_the_last_patch_whose_answer_was_lost_is_done(service: Service) -> None:
    alice = someone("alice")
    path = service.api.send("POST", "/uploads", alice, headers=LENGTH).headers["location"]
    first, last = {**PIECE, "upload-offset": "0"}, {**PIECE, "upload-offset": "500"}
    service.api.send("PATCH", path, alice, content=IMAGE[:500], headers=first)
    repeated = service.send("PATCH", path, alice, content=IMAGE[500:], headers=last)
    assert (repeated.status_code, repeated.headers["upload-offset"]) == (204, str(len(IMAGE)))
    service.assert_one_post(alice, path.replace("uploads", "posts"))


def test_a_multipart_post_whose_answer_was_lost_makes_one_post(service: Service) -> None:
    alice, before = someone("alice"), service.uploads()
    files = {"image": ("a.jpg", IMAGE)}
    answer = service.send("POST", "/posts", alice, files=files, headers=KEY)
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (201, "true")
    service.assert_one_post(alice, answer.headers["location"])
    assert service.uploads() == before


def test_a_reservation_and_its_put_whose_answers_were_lost_make_one_post(service: Service) -> None:
    alice, before = someone("alice"), service.uploads()
    image = {"size": len(IMAGE), "content_type": "image/jpeg"}
    answer = service.send("POST", "/posts", alice, json={"image": image}, headers=KEY)
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (201, "true")
    assert service.uploads() == before + 1
    put = answer.json()["upload"]["put"]
    done = service.send("PUT", put["url"], alice, content=IMAGE, headers=put["headers"])
    assert done.status_code == 204
    service.assert_one_post(alice, answer.headers["location"])


def test_a_comment_whose_answer_was_lost_is_there_once(service: Service) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = service.api.ready(alice)
    path = f"/posts/{post['id']}/comments"
    answer = service.send("POST", path, bob, json={"content": "once"}, headers=KEY)
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (201, "true")
    shown = service.api.get(f"/posts/{post['id']}").json()
    assert shown["total_comments"] == 1
    assert shown["latest_comments"] == [answer.json()]


def test_a_deletion_whose_answer_was_lost_is_done(service: Service) -> None:
    alice = someone("alice")
    post = service.api.ready(alice)
    assert service.send("DELETE", f"/posts/{post['id']}", alice).status_code == 204
