"""URLs as clients know them, and paths as the service does."""

from typing import Any

import msgspec
import pytest

from image_poster.editions import StartError
from image_poster.editions.local.settings import ROUTE_ROOTS, Settings
from image_poster.http.app import openapi_document
from image_poster.http.encoding import PublicUrl

PUBLIC = PublicUrl("https://photos.example.org/api")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/api/posts", "/posts"),
        ("/posts", "/posts"),
        ("/api", "/"),
        ("/api/", "/"),
        ("/apis/posts", "/apis/posts"),
        ("/api/api/posts", "/api/posts"),
    ],
)
def test_a_request_is_taken_with_the_path_and_without_it(target: str, path: str) -> None:
    scope: Any = {"path": target}
    PUBLIC.strip(scope)
    assert scope["path"] == path


def test_urls_in_json_are_whole_and_what_people_wrote_is_theirs() -> None:
    text = '","url":"/images/'
    body = {"caption": text, "image": {"url": "/images/1"}, "upload": {"tus": "/uploads/1"}}
    put = {"url": "https://bucket.example/1"}
    shown = msgspec.json.decode(PUBLIC.body(msgspec.json.encode({**body, "put": put})))
    assert shown["image"]["url"] == "https://photos.example.org/api/images/1"
    assert shown["upload"]["tus"] == "https://photos.example.org/api/uploads/1"
    assert (shown["caption"], shown["put"]) == (text, put)


def test_urls_in_headers_are_whole() -> None:
    headers = [
        (b"location", b"/posts/1"),
        (b"link", b'</posts?cursor=x>; rel="next"'),
        (b"etag", b'"/x"'),
    ]
    assert PUBLIC.headers(headers) == [
        (b"location", b"https://photos.example.org/api/posts/1"),
        (b"link", b'<https://photos.example.org/api/posts?cursor=x>; rel="next"'),
        (b"etag", b'"/x"'),
    ]
    elsewhere = [(b"location", b"https://bucket.example/1")]
    assert PUBLIC.headers(elsewhere) == elsewhere
    assert PublicUrl().headers(headers) == headers


@pytest.mark.parametrize(
    "url",
    [
        *("photos.example.org", "ftp://x", "https://x/", "https://x/api/", "https://x/a?b=c"),
        *(
            "https://x/a#b",
            "https://user@x",
            "https://x/a//b",
            "https://x/posts",
            "https://x/docs/v1",
        ),
    ],
)
def test_a_public_url_that_cannot_work_stops_the_start(url: str) -> None:
    with pytest.raises(StartError, match="public_url"):
        Settings(public_url=url)


@pytest.mark.parametrize("url", ["", "http://localhost:80", "https://x/api", "https://[::1]/a/b"])
def test_others_do_not(url: str) -> None:
    assert Settings(public_url=url).public_url == url


def test_every_path_of_the_service_is_known_as_one() -> None:
    paths = msgspec.json.decode(openapi_document())["paths"]
    assert {path.split("/")[1] for path in paths} <= ROUTE_ROOTS
