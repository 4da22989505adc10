"""Talking to a server as a user, with the shortest words that a test can have."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from support import samples
from support.waiting import wait_for_value


def someone(name: str = "user") -> str:
    """A user that no other test has."""
    return f"{name}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Edition:
    """Differences between editions, as far as the contract allows. Each flag is true of one
    machine. `docs/aws-design.md` describes AWS, and `tests/e2e/test_aws.py` tests it."""

    name: str
    # Counts and latest comments are right when a write is answered, not soon after.
    counts_at_once: bool = True
    # No gateway before the service refuses, decodes, limits or shortens requests.
    own_gateway: bool = True
    # Bodies reach the service as they come, also those that are cut.
    streams: bool = True
    # Images are served, and taken by PUT, by the service itself.
    own_files: bool = True
    # The data of a deleted account is gone soon after the response, and its name may begin anew.
    deletes_accounts_soon: bool = True
    # The header user-id is believed, on loopback names only; metrics are for Prometheus.
    one_machine: bool = True


LOCAL = Edition("local")
AWS = Edition(
    "aws",
    counts_at_once=False,
    own_gateway=False,
    streams=False,
    own_files=False,
    deletes_accounts_soon=False,
    one_machine=False,
)


@dataclass
class Api:
    """A server, and the differences of its edition that the contract allows."""

    url: str
    edition: Edition
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=120)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, user: str | None = None, **parts: Any) -> httpx.Response:
        return self.send("GET", path, user, **parts)

    def send(self, method: str, path: str, user: str | None = None, **parts: Any) -> httpx.Response:
        headers = {**({"user-id": user} if user else {}), **parts.pop("headers", {})}
        answer = self.http.request(method, path, headers=headers, **parts)
        if answer.status_code == 302:  # a file that is kept elsewhere
            return self.http.get(answer.headers["location"])
        return answer

    def eventually(self, read: Callable[[], object], expected: object) -> None:
        """Wait for the expected value; the local edition has to return it at once."""
        wait_for_value(read, expected, seconds=0 if self.edition.counts_at_once else 60)

    def total(self, post_id: str) -> int:
        """A post's count."""
        return int(self.get(f"/posts/{post_id}").json()["total_comments"])

    def latest(self, post_id: str) -> list[dict[str, Any]]:
        """A post's latest comments, as many as are kept."""
        path = f"/posts/{post_id}"
        return self.get(path, params={"comments": 10}).json()["latest_comments"]  # type: ignore[no-any-return]

    def assert_no_image(self, url: str) -> None:
        """There is no such image. A CDN says so in its own words (and without the right to list the
        bucket, as in the emulator, with 403)."""
        answer = self.get(url)
        if self.edition.own_files:
            assert_problem(answer, 404, "image_not_found")
        assert answer.status_code in (403, 404)

    def assert_identity_required(self, answer: httpx.Response) -> None:
        """Nobody may do this; where a gateway says so, it has its own words."""
        if self.edition.own_gateway:
            assert_problem(answer, 401, "identity_required")
        assert answer.status_code == 401

    def upload(
        self, user: str | None, content: bytes | None = None, **texts: str
    ) -> httpx.Response:
        """`POST /posts` as multipart."""
        files = {"image": ("photo.bin", samples.jpeg() if content is None else content)}
        return self.send("POST", "/posts", user, files=files, data=texts)

    def finished(self, user: str, content: bytes | None = None, **texts: str) -> dict[str, Any]:
        """A post whose image work has ended."""
        answer = self.upload(user, content, **texts)
        assert answer.status_code == 201, answer.text
        return self.processed(f"/posts/{answer.json()['id']}", user)

    def processed(self, path: str, user: str | None = None) -> dict[str, Any]:
        """The post at `path`, once it is not `processing`: a busy machine may need longer than the
        20 s for which one request may wait."""
        for _ in range(10):
            post: dict[str, Any] = self.get(path, user, params={"wait": 20}).json()
            if post["status"] != "processing":
                break
        return post

    def ready(self, user: str, content: bytes | None = None, **texts: str) -> dict[str, Any]:
        """A post that is ready."""
        post = self.finished(user, content, **texts)
        assert post["status"] == "ready", post
        return post

    def ready_by_put(self, user: str, content: bytes | None = None) -> dict[str, Any]:
        """A post that is ready, whose image came by a signed PUT."""
        sent = samples.jpeg() if content is None else content
        image = {"size": len(sent), "content_type": "image/jpeg"}
        reserved = self.send("POST", "/posts", user, json={"image": image}).json()
        put = reserved["upload"]["put"]
        assert self.http.put(put["url"], content=sent, headers=put["headers"]).is_success
        post = reserved
        while post["status"] in {"awaiting_upload", "processing"}:  # S3 tells of it in its own time
            post = self.get(f"/posts/{reserved['id']}", user, params={"wait": 20}).json()
        assert post["status"] == "ready", post
        return post  # type: ignore[no-any-return]

    def comment(self, post_id: str, user: str, content: str = "a comment") -> dict[str, Any]:
        """A comment that was taken."""
        answer = self.send("POST", f"/posts/{post_id}/comments", user, json={"content": content})
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def feed(self, **question: Any) -> dict[str, Any]:
        """A page of the feed."""
        answer = self.get("/posts", params=question)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem, in the form of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


def fields(problem: dict[str, Any]) -> set[str]:
    """The fields that a validation problem names."""
    return {error["field"] for error in problem["errors"]}
