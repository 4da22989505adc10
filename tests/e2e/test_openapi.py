"""Schemathesis asks the served API what its own document allows, and more: no undocumented answer,
no 500."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import Case
from schemathesis.checks import CHECKS

from image_poster.http.app import openapi_document
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import Server, local_server


@schemathesis.serializer("application/offset+octet-stream")
def offset_octet_stream(_context: object, value: object) -> bytes:
    """Bytes of an upload: whatever was invented, as text."""
    return value if isinstance(value, bytes) else str(value).encode()


schema = schemathesis.openapi.from_dict(json.loads(openapi_document()))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server with something in it, and ids that are there."""
    data_dir = tmp_path_factory.mktemp("data")
    with local_server(data_dir) as server, Api(server.url, LOCAL_EDITION) as api:
        post = api.ready("alice")
        comment = api.comment(post["id"], "alice")
        yield server, {"post_id": post["id"], "comment_id": comment["id"]}


def test_the_document_is_what_openapi_says_that_one_is() -> None:
    assert list(OpenAPIV31SpecValidator(json.loads(openapi_document())).iter_errors()) == []


@schema.parametrize()
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
def test_every_answer_is_documented(
    case: "Case[Any]", known: tuple[Server, dict[str, str]]
) -> None:
    server, ids = known
    named = case.path_parameters or {}
    # Half of the paths name things that are there; others stay as invented.
    if case.method != "DELETE" and sum(map(ord, str(named.get("post_id")))) % 2:
        named.update({name: ids[name] for name in named if name in ids})
    case.headers["user-id"] = "alice"
    response = case.call(base_url=server.url)
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
