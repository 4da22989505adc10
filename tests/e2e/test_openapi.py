"""Schemathesis sends the requests that the served API's document allows, and more. There is no
undocumented answer and no 500. It uses each kind of identity, and uploads that are under way."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import CHECKS

from image_poster.http.app import openapi_document
from support import samples
from support.servers import local_server

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "15"))
# Else most answers were 429.
_UNLIMITED = ("writes-per-minute", "bytes-per-day", "uploads-under-way", "requests-per-minute")
MODES = {"dev": (), "jwt": ("--auth", "jwt", *(f"--{name}=0" for name in _UNLIMITED))}


@schemathesis.serializer("application/offset+octet-stream")
def offset_octet_stream(_context: object, value: object) -> bytes:
    """Bytes of an upload: whatever was invented, as text."""
    return value if isinstance(value, bytes) else str(value).encode()


schema = schemathesis.openapi.from_dict(json.loads(openapi_document()))


@dataclass
class Known:
    """A server with something of alice's in it: what is there, by the names of parameters; for
    paths of uploads what is under way."""

    url: str
    credentials: dict[str, str]
    ids: dict[str, str]
    upload: str
    grant: str

    def name(self, case: "Case[Any]") -> None:
        """Half of the paths name things that are there; others stay as invented."""
        named = case.path_parameters or {}
        chance = sum(map(ord, str(named.get("post_id"))))
        if case.method == "DELETE" or chance % 2 == 0:
            return
        named.update({name: self.ids[name] for name in named if name in self.ids})
        if case.path.startswith("/uploads/") and chance % 4 == 1:
            named["post_id"] = self.upload
            if case.method == "PUT":
                case.query["grant"] = self.grant


@pytest.fixture(scope="module", params=MODES)
def known(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Known]:
    data = tmp_path_factory.mktemp("data")
    with local_server(data, *MODES[request.param]) as server:
        credentials = {"user-id": "alice"} if request.param == "dev" else token(data)
        with httpx.Client(base_url=server.url, headers=credentials, timeout=120) as alice:
            yield furnished(alice, server.url, credentials)


def token(data: Path) -> dict[str, str]:
    command = [sys.executable, "-m", "image_poster", "token", "alice", "--data-dir", str(data)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"authorization": f"Bearer {process.stdout.strip()}"}


def furnished(alice: httpx.Client, url: str, credentials: dict[str, str]) -> Known:
    post = alice.post("/posts", files={"image": ("photo.jpg", samples.jpeg())}).json()
    assert alice.get(f"/posts/{post['id']}?wait=20").json()["status"] == "ready"
    comment = alice.post(f"/posts/{post['id']}/comments", json={"content": "Nice!"}).json()
    image = {"size": 1000, "content_type": "image/jpeg"}
    upload = alice.post("/posts", json={"image": image}).json()
    (grant,) = parse_qs(urlsplit(upload["upload"]["put"]["url"]).query)["grant"]
    ids = {"post_id": post["id"], "comment_id": comment["id"]}
    return Known(url, credentials, ids, upload["id"], grant)


def test_the_document_is_what_openapi_says_that_one_is() -> None:
    # Its import takes seconds, which each process of the suite would spend.
    from openapi_spec_validator import OpenAPIV31SpecValidator

    assert list(OpenAPIV31SpecValidator(json.loads(openapi_document())).iter_errors()) == []


def test_a_429_is_documented_where_strangers_get_one() -> None:
    paths = json.loads(openapi_document())["paths"]
    upload = paths["/uploads/{post_id}"]
    assert all("429" in upload[method]["responses"] for method in upload)
    assert "429" not in paths["/images/{post_id}/{file_name}"]["get"]["responses"]


@schema.parametrize()
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
def test_every_answer_is_documented(case: "Case[Any]", known: Known) -> None:
    known.name(case)
    if crc32(f"{case.path_parameters}{case.query}".encode()) % 8:  # others are nobody
        case.headers.update(known.credentials)
    response = case.call(base_url=known.url)
    case.validate_response(response, checks=chosen())


def chosen() -> list:  # type: ignore[type-arg]
    names = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
    return [CHECKS.get_one(name) for name in names]
