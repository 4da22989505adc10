"""Documents that anybody may ask for are computed once."""

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from image_poster.domain.signing import Signer
from image_poster.http import openapi
from image_poster.http.app import HttpSettings, create_app
from image_poster.http.auth import DevAuthenticator
from image_poster.http.uploads import HmacPutUrlSigner
from support.services import services


async def ready() -> None:
    """Always."""


@pytest.mark.parametrize("public_url", ["", "https://photos.example/api"])
def test_the_openapi_document_is_encoded_once_a_process(
    monkeypatch: pytest.MonkeyPatch, public_url: str
) -> None:
    calls, encode = list[object](), openapi.encoded_document

    def counted(app: Litestar) -> bytes:
        calls.append(app)
        return encode(app)

    monkeypatch.setattr(openapi, "encoded_document", counted)
    settings = HttpSettings(
        DevAuthenticator(),
        HmacPutUrlSigner(Signer(b"")),
        loopback_only=False,
        public_url=public_url,
    )
    client = TestClient(create_app(services(), ready, settings))
    first, second = (client.get("/openapi.json") for _ in range(2))
    assert first.content == second.content
    assert first.json()["servers"] == [{"url": public_url or "/"}]
    assert len(calls) == 1
