"""CORS where it cannot be shown by a running edition: other origins, and a fault of ours."""

from typing import Any

from litestar.testing import TestClient

from image_poster.domain.signing import Signer
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
