"""The order of checks: route and method, then identity, then everything else of a request; and
which requests identify nobody at all."""

import socket
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.api import Api, assert_problem, someone

UNKNOWN = "01HZZZZZZZZZZZZZZZZZZZZZZZ"
POST, COMMENT = f"/posts/{UNKNOWN}", f"/posts/{UNKNOWN}/comments/{UNKNOWN}"
COMMENTS, UPLOAD = f"/posts/{UNKNOWN}/comments", f"/uploads/{UNKNOWN}"
TEXT = {"content": b"hello", "headers": {"content-type": "text/plain"}}
CUT_JSON = {"content": b"{", "headers": {"content-type": "application/json"}}
LONG = {"json": {"content": "x" * 300_000}}
NO_KEY = {"json": {"content": "x"}, "headers": {"idempotency-key": "k" * 300}}


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/comments", {"json": {}}),
        ("POST", "/comments", TEXT),
        ("POST", "/comments", CUT_JSON),
        ("POST", COMMENTS, {"json": []}),
        ("POST", COMMENTS, TEXT),
        ("POST", COMMENTS, LONG),
        ("POST", COMMENTS, NO_KEY),
        ("POST", "/posts", TEXT),
        ("POST", "/posts", CUT_JSON),
        ("POST", "/posts", {"json": {"image": {"size": "many"}}}),
        (
            "POST",
            "/posts",
            {"files": {"image": b"no image"}, "headers": {"content-encoding": "br"}},
        ),
        ("POST", "/posts", {"files": {"photo": b""}}),
        ("PATCH", POST, {"json": {}}),
        ("PATCH", POST, TEXT),
        ("PATCH", "/posts/no-id", LONG),
        ("DELETE", "/posts/no-id", {}),
        ("PATCH", COMMENT, {"json": {"content": 7}}),
        ("PATCH", COMMENT, CUT_JSON),
        ("DELETE", COMMENT, {}),
        ("POST", "/uploads", {}),
        ("POST", "/uploads", {"headers": {"tus-resumable": "0.2.0", "upload-concat": "partial"}}),
        ("HEAD", UPLOAD, {}),
        ("GET", UPLOAD, {}),
        ("PATCH", UPLOAD, {}),
        ("PATCH", "/uploads/no-id", {"content": b"x"}),
        ("DELETE", UPLOAD, {}),
        ("GET", f"{POST}/original", {"headers": {"range": "bytes=9-"}}),
    ],
    ids=str,
)
def test_who_is_not_identified_gets_401_whatever_else_is_wrong(
    api: Api, method: str, path: str, sent: dict[str, Any]
) -> None:
    answer = api.send(method, path, **sent)
    if method == "HEAD":
        assert answer.status_code == 401
    else:
        api.assert_identity_required(answer)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/comments", 405),
        ("DELETE", "/posts", 405),
        ("POST", UPLOAD, 405),
        ("PATCH", "/uploads", 405),
        ("POST", f"{COMMENTS}/x/y", 404),
        ("DELETE", "/nothing", 404),
    ],
)
def test_route_and_method_come_before_identity(
    api: Api, method: str, path: str, status: int
) -> None:
    for headers in ({}, unidentified(api)):
        assert api.send(method, path, headers=headers, json={}).status_code == status


def unidentified(api: Api) -> dict[str, str]:
    """Headers of a caller whose identity does not hold."""
    return {"user-id": "x" * 200} if api.edition.one_machine else {"authorization": "Bearer x.y.z"}


def test_shared_lists_are_the_same_for_a_caller_whose_token_does_not_hold(api: Api) -> None:
    post = api.ready(someone())
    api.comment(post["id"], someone())
    api.eventually(lambda: api.total(post["id"]), 1)
    for path in ("/posts?sort=new", f"/posts/{post['id']}/comments"):
        identified, refused = api.get(path), api.get(path, headers=unidentified(api))
        assert (refused.status_code, refused.content) == (
            identified.status_code,
            identified.content,
        )
        assert refused.headers["etag"] == identified.headers["etag"]


def test_a_single_post_tells_a_caller_that_their_identity_does_not_hold(api: Api) -> None:
    post = api.ready(someone())
    path = f"/posts/{post['id']}"
    comments = (f"{path}/comments/no-id", "/posts/no-id/comments/no-id", COMMENT)
    for question in (path, f"{path}?wait=ever", f"{path}?comments=99", "/me", *comments):
        assert_problem(api.get(question, headers=unidentified(api)), 401, "identity_required")


def test_comments_of_a_post_that_is_not_shown_are_listed_for_nobody(api: Api) -> None:
    creator = someone()
    image = {"size": 1000, "content_type": "image/jpeg"}
    reserved = api.send("POST", "/posts", creator, json={"image": image}).json()
    for user in (creator, None):
        answer = api.get(f"/posts/{reserved['id']}/comments", user)
        assert_problem(answer, 404, "post_not_found")


@pytest.mark.where(streams=True)
@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /posts HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b", b"401"),
        ("POST /comments HTTP/1.1\r\nContent-Type: application/json", b"401"),
        (f"PATCH {UPLOAD} HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0", b"401"),
        ("POST /limits HTTP/1.1\r\nContent-Type: application/json", b"405"),
    ],
)
def test_a_stranger_is_answered_before_the_body_comes(api: Api, head: str, status: bytes) -> None:
    address = urlsplit(api.url)
    with socket.create_connection((str(address.hostname), address.port or 80), 60) as connection:
        rest = "\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
        connection.sendall((head + rest).encode())
        assert connection.recv(1000).split()[1] == status


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.same_code("parsing of JSON")
@pytest.mark.parametrize("depth", [900, 5_000, 50_000])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/comments", b'{"post_id":"a","content":%b}'),
        ("POST", "/comments", b"%b"),
        ("POST", COMMENTS, b'{"content":"a","x":%b}'),
        ("POST", "/posts", b'{"image":%b}'),
        ("POST", "/posts", b'{"image":{"size":1,"content_type":"image/jpeg","sha256":%b}}'),
        ("PATCH", POST, b'{"caption":%b}'),
        ("PATCH", COMMENT, b'{"content":%b}'),
    ],
    ids=str,
)
def test_nested_json_is_refused_and_is_no_fault(
    api: Api, method: str, path: str, body: bytes, depth: int
) -> None:
    sent = {"content-type": "application/json"}
    answer = api.send(method, path, someone(), content=body % nested(depth), headers=sent)
    assert answer.status_code in {400, 404, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/posts", f"{POST}/comments"])
def test_a_nested_cursor_is_refused(api: Api, path: str) -> None:
    text = urlsafe_b64encode(nested(1_400)).decode()
    for cursor in (text, text[:200]):
        answer = api.get(path, params={"cursor": cursor})
        assert answer.status_code in {400, 404}


def test_nested_metadata_of_an_upload_is_a_text(api: Api) -> None:
    text = urlsafe_b64encode(nested(900)).decode()
    sent = {"tus-resumable": "1.0.0", "upload-length": "10", "upload-metadata": f"x {text}"}
    assert api.send("POST", "/uploads", someone(), headers=sent).status_code == 201


@pytest.mark.where(one_machine=False)
@pytest.mark.parametrize("depth", [1_000, 5_000])
def test_a_token_of_nested_json_is_refused_on_aws_too(api: Api, depth: int) -> None:
    head = urlsafe_b64encode(b'{"alg":"RS256","x":%b}' % nested(depth)).decode().rstrip("=")
    sent = {"authorization": f"Bearer {head}.e30.eA"}
    for method, path in (("GET", POST), ("GET", "/me"), ("DELETE", POST)):
        assert api.send(method, path, headers=sent).status_code == 401
    assert api.get("/posts", headers=sent).status_code == 200
