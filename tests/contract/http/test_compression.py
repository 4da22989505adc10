"""JSON beyond 1 kB comes compressed to whoever takes it, under ETags that stay right."""

import gzip

import brotli
import httpx
import pytest

from support import samples
from support.api import Api, someone


@pytest.fixture(scope="module")
def creator(api: Api) -> str:
    """Of a page of more than 1 kB."""
    alice = someone("alice")
    for _ in range(3):
        api.ready(alice, caption="At the lake. " * 20)
    api.eventually(lambda: len(api.feed(creator=alice)["posts"]), 3)
    return alice


def page(api: Api, creator: str, accepted: str, **headers: str) -> httpx.Response:
    question = {"creator": creator, "sort": "new"}
    return api.get("/posts", params=question, headers={"accept-encoding": accepted, **headers})


def raw(api: Api, creator: str, accepted: str) -> tuple[httpx.Headers, bytes]:
    """The bytes as they came."""
    question = {"creator": creator, "sort": "new"}
    headers = {"accept-encoding": accepted}
    with api.http.stream("GET", "/posts", params=question, headers=headers) as answer:
        return answer.headers, b"".join(answer.iter_raw())


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("GZIP", "gzip"),
        ("br;q=0, *", "gzip"),
        ("identity", None),
        ("", None),
        ("gzip;q=0.000, br; q=0", None),
    ],
)
def test_each_gets_the_coding_that_it_takes(
    api: Api, creator: str, accepted: str, coding: str | None
) -> None:
    plain = page(api, creator, "identity").content
    headers, body = raw(api, creator, accepted)
    assert headers.get("content-encoding") == coding
    assert int(headers["content-length"]) == len(body)
    decode = {"br": brotli.decompress, "gzip": gzip.decompress, None: bytes}[coding]
    assert decode(body) == plain
    assert "Accept-Encoding" in headers["vary"]
    if coding:
        assert len(body) < len(plain) / 2
        assert headers["etag"].startswith("W/")


def test_a_client_that_has_it_is_told_so_in_any_coding(api: Api, creator: str) -> None:
    for first_coding in ("br", "gzip", "identity"):
        etag = page(api, creator, first_coding).headers["etag"]
        for accepted in ("br", "gzip", "identity"):
            repeated = page(api, creator, accepted, **{"if-none-match": etag})
            assert (repeated.status_code, repeated.content) == (304, b"")


def test_that_nothing_changed_is_said_as_the_thing_itself_would_be(api: Api) -> None:
    """RFC 9110 section 15.4.5: or a cache takes it for something else, and does not freshen what it
    has."""
    path = f"/posts/{api.ready(someone(), caption='At the lake. ' * 100)['id']}"
    for accepted in ("br", "identity"):
        first = api.get(path, headers={"accept-encoding": accepted})
        condition = {"accept-encoding": accepted, "if-none-match": first.headers["etag"]}
        repeated = api.get(path, headers=condition)
        assert repeated.status_code == 304
        for name in ("etag", "vary", "cache-control"):
            assert repeated.headers[name] == first.headers[name]


def test_an_edit_may_say_the_etag_of_a_compressed_answer(api: Api) -> None:
    alice = someone("alice")
    path = f"/posts/{api.ready(alice, caption='At the lake. ' * 100)['id']}"
    etag = api.get(path, alice, headers={"accept-encoding": "gzip"}).headers["etag"]
    for text, status in (("one", 200), ("two", 412)):
        answer = api.send("PATCH", path, alice, json={"caption": text}, headers={"if-match": etag})
        assert answer.status_code == status


def test_small_answers_and_images_come_as_they_are(api: Api) -> None:
    post = api.ready(someone(), samples.jpeg())
    headers = {"accept-encoding": "gzip, br"}
    for path in ("/healthz", f"/posts/{post['id']}", post["image"]["url"]):
        assert "content-encoding" not in api.get(path, headers=headers).headers


@pytest.mark.where(own_gateway=True)
def test_head_tells_what_get_would(api: Api, creator: str) -> None:
    question = {"creator": creator, "sort": "new"}
    headers = {"accept-encoding": "gzip"}
    head = api.http.head("/posts", params=question, headers=headers)
    assert head.headers["content-encoding"] == "gzip"
    assert int(head.headers["content-length"]) == len(raw(api, creator, "gzip")[1])
