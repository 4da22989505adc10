"""CORS where it cannot be shown by a running edition: other origins, and a fault of ours."""

from typing import Any

import pytest
from litestar.testing import TestClient

from image_poster.domain.signing import Signer
from image_poster.editions import StartError, parse_origins
from image_poster.editions.aws.settings import read_settings
from image_poster.editions.local.settings import Settings
from image_poster.http.app import HttpSettings, create_app
from image_poster.http.auth import DevAuthenticator
from image_poster.http.uploads import HmacPutUrlSigner
from support.services import services

PAGE = {"origin": "https://photos.example"}


async def broken() -> None:
    """A readiness check with a fault in it."""
    raise RuntimeError


def client(*origins: str) -> TestClient[Any]:
    settings = HttpSettings(DevAuthenticator(), HmacPutUrlSigner(Signer(b"")), origins, False)
    return TestClient(create_app(services(), broken, settings))


def test_a_500_can_be_read() -> None:
    answer = client(PAGE["origin"]).get("/readyz", headers=PAGE)
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == PAGE["origin"]
    assert answer.headers["vary"] == "Origin"


def test_an_answer_is_the_same_for_all_origins_where_all_may_call() -> None:
    for headers in ({}, PAGE):
        answer = client("*").get("/healthz", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "vary" not in answer.headers


def test_only_listed_origins_may_call() -> None:
    for other in ("https://photos.example.evil", "http://photos.example", "http://localhost"):
        answer = client(PAGE["origin"]).get("/healthz", headers={"origin": other})
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("https://photos.example/", "no slash at its end: https://photos.example, not"),
        ("https://photos.example/app", "no path"),
        ("https://photos.example?x=1", "no path"),
        ("photos.example", "is no origin"),
        ("https://", "is no origin"),
        ("https://a b", "is no origin"),
        ("https://user@photos.example", "is no origin"),
        ("https://photos.example:443", "browsers leave out :443"),
        ("http://photos.example:80", "browsers leave out :80"),
        ("https://*.example.org", r"https://\*.example.org matches no page"),
        ("*.example.org", "matches no page"),
        ("https://example.org:*", "matches no page"),
        ("https://münchen.example", "in ASCII"),
        ("null", "is no origin"),
        ("https://photos.example:99999", "is no origin"),
        ("https://photos.example:08443", "is no origin"),
        ("http://[0:0:0:0:0:0:0:1]:8080", "is no origin"),
        ("http://[::1", "is no origin"),
    ],
)
def test_an_origin_that_no_browser_sends_stops_the_start(origin: str, said: str) -> None:
    both = f"https://first.example,{origin}"
    with pytest.raises(StartError, match=said):
        Settings(cors_origins=both)
    with pytest.raises(StartError, match=said):
        read_settings({"IMAGE_POSTER_CORS_ORIGINS": both})


def test_origins_are_taken_as_browsers_send_them() -> None:
    text = "https://PHOTOS.example, http://localhost:5173,http://[::1]:8080, capacitor://localhost"
    assert parse_origins(text) == (
        "https://photos.example",
        "http://localhost:5173",
        "http://[::1]:8080",
        "capacitor://localhost",
    )
    assert parse_origins("*") == ("*",)
    assert parse_origins("") == ()
