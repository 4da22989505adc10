"""The collection in docs/collection/: made from the OpenAPI document, and run for real."""

import json
import re
import subprocess
import sys
import uuid
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import httpx
import pytest

import api_document
from collection import FOLDER, files
from collection_requests import JSON, Example, requests
from support.peers import needs_httpyac
from support.servers import local_server

DOCUMENT = api_document.read()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with local_server(tmp_path_factory.mktemp("data"), "--admins", "root") as server:
        yield server.url


@pytest.mark.parametrize("name", files())
def test_the_collection_is_what_the_document_says(name: str) -> None:
    assert (FOLDER / name).read_text() == files()[name], "run `make collection`"


def test_the_collection_has_every_operation_and_no_other() -> None:
    names = {re.sub(r"\d+$", "", request.name) for request in requests(DOCUMENT)}
    assert names == {operation.id for operation in DOCUMENT.operations}


@pytest.mark.parametrize(
    ("example", "says"),
    [
        (Example("getLimits", status=404), "404 is not a success"),
        (Example("getLimits", values={"colour": "blue"}), "no parameter colour"),
        (Example("addComment", media_type=JSON, body={"text": "Nice!"}), "requires .'content'"),
        (Example("addComment", media_type=JSON), "requires .'content'"),
    ],
)
def test_an_example_that_contradicts_the_document_is_refused(
    example: Example, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collection_requests.EXAMPLES", [example])
    with pytest.raises(ValueError, match=says):
        requests(DOCUMENT)


def test_an_operation_without_an_example_still_gets_its_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collection_requests.EXAMPLES", [])
    (request,) = (request for request in requests(DOCUMENT) if request.name == "findUpload")
    assert (request.method, request.path) == ("HEAD", "/uploads/{post_id}")
    assert request.headers == {"Tus-Resumable": "1.0.0"}


@needs_httpyac
def test_httpyac_runs_the_http_file_from_top_to_bottom(url: str) -> None:
    done = httpyac(url)
    assert done.returncode == 0, done.stdout
    count = len(requests(DOCUMENT))
    assert f"{count} requests processed ({count} succeeded)" in done.stdout


@needs_httpyac
def test_the_command_that_runs_it_fails_where_a_request_does() -> None:
    assert httpyac("http://127.0.0.1:1").returncode != 0


def httpyac(url: str) -> subprocess.CompletedProcess[str]:
    """As `make collection-run` does it."""
    return subprocess.run(
        [sys.executable, FOLDER.parents[1] / "scripts" / "collection_run.py", url],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@dataclass
class Insomnia:
    """As much of Insomnia as the collection uses: variables, and tags for what was answered."""

    environment: dict[str, Any]
    http: httpx.Client
    answers: dict[str, httpx.Response]

    def send(self, request: dict[str, Any]) -> httpx.Response:
        headers = {
            header["name"]: self.with_answers(header["value"])
            for header in request["headers"]
            if not header.get("disabled")
        }
        query = {
            parameter["name"]: self.with_answers(parameter["value"])
            for parameter in request["parameters"]
        }
        address = self.with_answers(request["url"])
        body = self.body(request["body"])
        answer = self.http.request(
            request["method"], address, headers=headers, params=query or None, **body
        )
        self.answers[request["_id"]] = answer
        return answer

    def body(self, body: dict[str, Any]) -> dict[str, Any]:
        if "params" in body:
            (file,) = (part for part in body["params"] if part.get("type") == "file")
            texts = {part["name"]: part["value"] for part in body["params"] if part is not file}
            return {"files": {file["name"]: photo(file)}, "data": texts}
        if "fileName" in body:
            return {"content": photo(body)}
        return {"content": self.with_answers(body["text"])} if body else {}

    def with_answers(self, text: str) -> str:
        text = re.sub(r"\{\{ _\.(\w+) \}\}", lambda name: str(self.environment[name[1]]), text)
        text = text.replace("{% uuid 'v4' %}", str(uuid.uuid4()))
        tag = r"\{% response 'body', '(\w+)', 'b64::([\w+/=]+)::46b', 'no-history', 60 %\}"
        text = re.sub(tag, lambda match: self.answered(match[1], match[2]), text)
        assert not re.search(r"\{[{%]", text), text
        return text

    def answered(self, request: str, encoded: str) -> str:
        path = b64decode(encoded).decode().removeprefix("$.").split(".")
        return str(reduce(lambda value, name: value[name], path, self.answers[request].json()))


def photo(part: dict[str, Any]) -> bytes:
    return (FOLDER / str(part["fileName"])).read_bytes()


def test_the_requests_of_the_insomnia_collection_succeed_from_top_to_bottom(url: str) -> None:
    resources = json.loads((FOLDER / "insomnia.json").read_text())["resources"]
    ids = {resource["_id"] for resource in resources}
    assert all(resource["parentId"] in ids for resource in resources if resource["parentId"])
    (environment,) = (
        resource["data"] for resource in resources if resource["_type"] == "environment"
    )
    ordered = sorted(
        (resource for resource in resources if resource["_type"] == "request"),
        key=lambda resource: int(resource["metaSortKey"]),
    )
    with httpx.Client(timeout=120) as http:
        insomnia = Insomnia(environment | {"base_url": url}, http, {})
        for request in ordered:
            answer = insomnia.send(request)
            assert f"{answer.status_code} is success." == request["description"], answer.text
