"""Errors become problems in one place; what is unknown stays inside."""

import json
from collections.abc import Iterator

import pytest
import structlog
from litestar import Litestar, get
from litestar.testing import TestClient

from image_poster.domain.errors import BusyError, StorageFullError
from image_poster.editions.logs import configure
from image_poster.http.problems import EXCEPTION_HANDLERS

WORDS = "the caption of somebody"


@get("/unknown")
async def fail_unknown() -> None:
    words = WORDS
    raise RuntimeError("database password " + words[:0])


@get("/busy")
async def fail_busy() -> None:
    raise BusyError


@get("/full")
async def fail_full() -> None:
    raise StorageFullError


APP = Litestar(
    [fail_unknown, fail_busy, fail_full],
    exception_handlers=EXCEPTION_HANDLERS,
    openapi_config=None,
    logging_config=None,
)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_unknown_error_is_logged_and_answered_without_its_text(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure(log_format)
    with TestClient(APP) as client:
        answer = client.get("/unknown")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "password" not in answer.text
    logged = capsys.readouterr().err
    assert "database password" in logged
    assert "fail_unknown" in logged
    assert WORDS not in logged
    if log_format == "json":
        assert json.loads(logged)["event"] == "request failed"


@pytest.mark.parametrize(("path", "status"), [("/busy", 503), ("/full", 507)])
def test_what_passes_says_when_to_come_back(path: str, status: int) -> None:
    with TestClient(APP) as client:
        answer = client.get(path)
    assert answer.status_code == status
    assert int(answer.headers["retry-after"]) > 0
