"""Talking to a server as a user, with the shortest words that a test can have."""

import secrets
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from support import pictures


def someone(name: str = "user") -> str:
    """A user that no other test has."""
    return f"{name}-{secrets.token_hex(4)}"


@dataclass
class Api:
    """A server, and the differences of its edition that the contract allows."""

    url: str
    edition: str
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, user: str | None = None, **parts: Any) -> httpx.Response:
        return self.send("GET", path, user, **parts)

    def send(self, method: str, path: str, user: str | None = None, **parts: Any) -> httpx.Response:
        headers = {**({"user-id": user} if user else {}), **parts.pop("headers", {})}
        return self.http.request(method, path, headers=headers, **parts)

    def upload(
        self, user: str | None, content: bytes | None = None, **texts: str
    ) -> httpx.Response:
        """`POST /posts` as multipart."""
        files = {"image": ("photo.bin", pictures.jpeg() if content is None else content)}
        return self.send("POST", "/posts", user, files=files, data=texts)

    def finished(self, user: str, content: bytes | None = None, **texts: str) -> dict[str, Any]:
        """A post whose image work has ended."""
        made = self.upload(user, content, **texts)
        assert made.status_code == 201, made.text
        return self.get(f"/posts/{made.json()['id']}", user, params={"wait": 20}).json()  # type: ignore[no-any-return]

    def ready(self, user: str, content: bytes | None = None, **texts: str) -> dict[str, Any]:
        """A post that is ready."""
        post = self.finished(user, content, **texts)
        assert post["status"] == "ready", post
        return post

    def comment(self, post_id: str, user: str, content: str = "a comment") -> dict[str, Any]:
        """A comment that was taken."""
        made = self.send("POST", f"/posts/{post_id}/comments", user, json={"content": content})
        assert made.status_code == 201, made.text
        return made.json()  # type: ignore[no-any-return]

    def feed(self, **question: Any) -> dict[str, Any]:
        """A page of the feed."""
        answer = self.get("/posts", params=question)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem, in the form of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
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
